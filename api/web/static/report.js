// The comparison of two versions on the same test pictures.
import { ago, el, few, heads, many, percent, track } from "./page.js";

/** Return the report of a comparison that is DONE. */
export function report(comparison) {
  const { candidate, baseline, pictures, left_out: left, agreement, labels, only_right: only, verdict: word } =
    comparison.report;
  const others = new Map(baseline.per_label.map((row) => [row.label, row.f1]));
  return el("div", { class: "report" },
    el("p", {}, `On ${many(pictures, "test picture")} they agree in ${percent(agreement)}. `,
      left ? `${many(left, "picture was", "pictures were")} left out: one of the two was trained on them, or neither has their label. ` : "",
      el("small", {}, "Compared ", ago(comparison.finished_at), ".")),
    only ? verdict(word, only, [candidate.version, baseline.version]) : few(pictures), labels ? differing(labels) : null,
    el("table", { class: "numbers" },
      heads("measure", named(comparison.candidate), named(comparison.baseline), "change"),
      el("tbody", {},
        candidate.mean_average_precision == null ? null
          : line("mAP", candidate.mean_average_precision, baseline.mean_average_precision, { written: percent, scale: 100, digits: 1 }),
        line("accuracy", candidate.accuracy, baseline.accuracy, { written: percent, scale: 100, digits: 1 }),
        line("macro F1", candidate.macro_f1, baseline.macro_f1),
        line("ms a picture", candidate.milliseconds, baseline.milliseconds, { written: tenths, digits: 1,
          judged: false }),
        candidate.per_label.map((row) => line(`F1 of ${row.label}`, row.f1, others.get(row.label))))));
}

/** What a comparison says of its candidate, in words. */
export const VERDICTS = {
  better: "It is better by more than chance",
  worse: "It is worse by more than chance",
  open: "Chance alone may explain the difference; more test pictures would tell",
};

/** Return what the pictures can say of the candidate. */
function verdict(word = "open", { candidate, baseline }, versions) {
  const counts = `only version ${versions[0]} is right on ${candidate}, only version ${versions[1]} on ${baseline}`;
  return el("p", { class: "calm" }, `${VERDICTS[word]}: ${counts}.`);
}

/** Return a warning if the versions have different labels; old reports do not count them. */
function differing({ candidate, baseline, common }) {
  if (candidate === baseline && candidate === common) return null;
  const said = `${candidate} and ${baseline}, ${common} in common`;
  return el("p", { class: "calm" }, `The versions have different labels: ${said}.`);
}

function tenths(value) {
  return value.toFixed(1);
}

function named(version) {
  return version ? `version ${version}` : "a removed version";
}

/** Return a row: both values and the change, times `scale`, with `digits` decimals; bars and colours if `judged`. */
function line(name, mine, other, { written = (value) => value.toFixed(3), scale = 1, digits = 3, judged = true } = {}) {
  const known = (value) => el("td", {}, written(value), judged ? track(value) : null);
  const cell = (value) => (value == null ? el("td", {}, "–") : known(value));
  return el("tr", {}, el("th", { scope: "row", title: name }, name), cell(mine), cell(other),
    other == null ? el("td") : change((mine - other) * scale, digits, judged));
}

function change(by, digits, judged) {
  const said = Math.abs(by).toFixed(digits);
  if (!Number(said)) return el("td", { class: "calm" }, "=");
  const kind = judged && (by > 0 ? "good" : "wrong");
  return el("td", { class: kind || "calm" }, `${by > 0 ? "+" : "−"}${said}`);
}
