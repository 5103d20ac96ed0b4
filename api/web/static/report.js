// Two versions side by side on the same test pictures.
import { ago, el, heads, many, percent, track } from "./page.js";

/** The report of a comparison that is DONE. */
export function report(comparison) {
  const { candidate, baseline, pictures, left_out: left, agreement } = comparison.report;
  const others = new Map(baseline.per_label.map((row) => [row.label, row.f1]));
  return el("div", { class: "report" },
    el("p", {}, `On ${many(pictures, "test picture")} they agree in ${percent(agreement)}. `,
      left ? `${many(left, "picture was", "pictures were")} left out: one of the two has learned from them. ` : "",
      el("small", {}, "Compared ", ago(comparison.finished_at), ".")),
    el("table", { class: "numbers" },
      heads("", named(comparison.candidate), named(comparison.baseline), "change"),
      el("tbody", {},
        line("accuracy", candidate.accuracy, baseline.accuracy, { written: percent, scale: 100, digits: 1 }),
        line("macro F1", candidate.macro_f1, baseline.macro_f1),
        line("ms a picture", candidate.milliseconds, baseline.milliseconds, { written: tenths, digits: 1, less: true }),
        candidate.per_label.map((row) => line(`F1 of ${row.label}`, row.f1, others.get(row.label))))));
}

function tenths(value) {
  return value.toFixed(1);
}

function named(version) {
  return version ? `version ${version}` : "one that is gone";
}

/** A row: both values, each with a bar unless less is better, and what changed in `digits` decimals of `scale`. */
function line(name, mine, other, { written = (value) => value.toFixed(3), scale = 1, digits = 3, less = false } = {}) {
  const known = (value) => el("td", {}, written(value), less ? null : track(value));
  const cell = (value) => (value == null ? el("td", {}, "–") : known(value));
  return el("tr", {}, el("th", { scope: "row", title: name }, name), cell(mine), cell(other),
    other == null ? el("td") : change((mine - other) * scale, digits, less));
}

function change(by, digits, less) {
  const said = Math.abs(by).toFixed(digits);
  if (!Number(said)) return el("td", { class: "calm" }, "=");
  return el("td", { class: by > 0 === less ? "wrong" : "good" }, `${by > 0 ? "+" : "−"}${said}`);
}
