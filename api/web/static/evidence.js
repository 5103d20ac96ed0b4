// The evidence of a training: what was measured of its version on test pictures.
import { ROOT, picture } from "./api.js";
import { tradeoff } from "./curve.js";
import { MULTI_LABEL } from "./labels.js";
import { bar, el, facts, few, fill, group, heads, lasting, many, percent, stat, track, verbatim } from "./page.js";
import { thumb } from "./thumbs.js";

const PLOTS = [
  ["confusion", "Which labels were predicted for which true labels"],
  ["curve", "Learning curve: loss and accuracy over the epochs"],
  ["reliability", "Reliability diagram: accuracy for each range of scores"],
];
const ROWS = 20; // labels, and mistakes, shown before the list is unfolded
const STOPPED = { early: "it no longer improved", epochs: "the requested number was reached", time: "the time limit was reached" };
const METHODS = { head: "new head", "fine-tuned": "fine-tuned", scratch: "from scratch" };

/** Return the sections of a training that is DONE. */
export function evidence(training) {
  const found = training.evidence;
  return [
    summary(found), labels(found.per_label), plots(training.links.plots), calibration(found), mistakes(found),
    suspects(found), rejection(found), making(found, training),
  ];
}

/** Return the method of a version in a few words. */
export function method(word) {
  return METHODS[word] || word || "";
}

function summary(found) {
  const { test } = found.examples;
  const right = Math.round(found.accuracy * test);
  const exactly = several(found) ? "with exactly the right labels" : "correct";
  return el("div", { class: "card" },
    el("div", { class: "stats" },
      several(found) ? ranked(found) : null,
      stat(percent(found.accuracy), several(found) ? "all labels right" : "accuracy",
        `${right} of ${many(test, "test picture")} ${exactly}${between(found.accuracy_interval)}`),
      found.cross_validation ? folds(found.cross_validation) : null,
      stat(found.macro_f1.toFixed(3), "macro F1", "all labels count equally"),
      stat(percent(found.ece_after), "calibration error", `${percent(found.ece_before)} before`),
      stat(lasting(found.seconds.total), "training time", method(found.method))),
    found.accuracy_interval ? null : few(test), el("p", {}, found.note));
}

/** Return whether the pictures have any number of labels. */
function several(found) {
  return found.problem_type === MULTI_LABEL;
}

/** Return the mean average precision, which no threshold changes, and the F1 of all labels together. */
function ranked(found) {
  const mean = found.mean_average_precision;
  return [
    stat(mean == null ? "–" : percent(mean), "mAP",
      `mean average precision of the labels${between(found.mean_average_precision_interval)}`),
    stat(found.micro_f1.toFixed(3), "micro F1", "all labels of all pictures together"),
  ];
}

/** Return what the heads of cross-validation answered. */
function folds(measured) {
  const mean = measured.mean_average_precision;
  const bounds = mean == null ? measured.accuracy_interval : measured.mean_average_precision_interval;
  return stat(percent(mean ?? measured.accuracy), mean == null ? "accuracy by folds" : "mAP by folds",
    `${many(measured.pictures, "picture")}, each by a head that had not seen it${between(bounds)}`);
}

/** Return between which values a measure probably is; empty for evidence that does not say it. */
function between(bounds) {
  if (!bounds) return "";
  const [low, high] = bounds;
  return `, probably between ${percent(low)} and ${percent(high)}`;
}

function labels(rows) {
  const weakest = [...rows].sort((one, other) => one.f1 - other.f1);
  const body = el("tbody", {}, weakest.slice(0, ROWS).map(label));
  const counted = rows.some((row) => row.threshold != null) ? ["AP", "from score", "missed", "wrongly"] : [];
  const table = el("table", { class: "numbers" }, heads("label", "precision", "recall", "F1", ...counted, "pictures"), body);
  const rest = weakest.slice(ROWS);
  return group("Labels", "On the test pictures, lowest F1 first.", el("div", { class: "card" }, table,
    more(rest.length, `Show all ${weakest.length}`, () => body.append(...rest.map(label)))));
}

function label(row) {
  const numbers = [row.precision, row.recall, row.f1].map((value) => el("td", {}, value.toFixed(3), track(value)));
  const title = el("th", { scope: "row", title: row.label }, row.label);
  const counted = row.threshold == null ? [] : [
    row.average_precision == null ? "–" : row.average_precision.toFixed(3), row.threshold.toFixed(2),
    String(row.false_negatives), String(row.false_positives)].map((value) => el("td", {}, value));
  return el("tr", {}, title, numbers, counted, el("td", {}, String(row.support)));
}

function plots(links) {
  const shown = PLOTS.filter(([name]) => links[name]).map(([name, alt]) => plot(links[name], name, alt));
  return group("Plots", "", el("div", { class: "plots" }, shown));
}

/** Return a plot; it is fetched with the key, which a plain link would not carry, and can be saved. */
function plot(path, name, alt) {
  const place = el("div");
  fill(place, () => picture(path), (address) =>
    el("a", { href: address, download: `${name}.svg`, title: "Save this plot" }, el("img", { src: address, alt })));
  return el("figure", { class: `card plot ${name}` }, place);
}

function calibration(found) {
  const most = Math.max(found.ece_before, found.ece_after, 0.01);
  const before = bar("before", found.ece_before / most, percent(found.ece_before));
  before.classList.add("before");
  return group("Calibration", "Mean difference between scores and the share of correct answers; lower is better.",
    el("div", { class: "card" }, before, bar("after", found.ece_after / most, percent(found.ece_after)),
      el("p", { class: "calm" }, several(found) ? "Scores are corrected for the weights of rare labels, and the logits are "
        : "Scores are calibrated: the logits are ", "divided by a temperature of ",
        `${found.temperature.toFixed(2)}, which was fitted on pictures that were not learned from.`)));
}

function mistakes(found) {
  const all = found.mistakes;
  if (!all.length) return group("Mistakes", "None: every test picture was classified correctly.");
  const shots = (some) => some.map((one) => mistake(one, found.dataset.id));
  const grid = el("div", { class: "shots" }, shots(all.slice(0, ROWS)));
  const rest = all.slice(ROWS);
  const count = Math.max(all.length, Math.round((1 - found.accuracy) * found.examples.test));
  const said = several(found) ? `${many(found.mistakes_in_all, "label")} of ${many(found.examples.test, "test picture")}, the surest first.`
    : `${count} of ${many(found.examples.test, "test picture")}, highest score first.`;
  return group("Mistakes", said, grid,
    more(rest.length, `Show ${rest.length} more`, () => grid.append(...shots(rest))));
}

function mistake(one, dataset) {
  const score = el("i", {}, percent(one.score, 0));
  return thumb(`${ROOT}/v1/datasets/${dataset}/examples/${one.example}/picture`, one.name,
    el("span", { class: "answer-wrong", title: one.predicted }, el("span", {}, one.predicted || "missed"), score),
    el("span", { title: one.expected }, "is ", one.expected || `not ${one.predicted}`));
}

/** Return the examples whose label is probably wrong; old evidence does not name any. */
function suspects(found) {
  const all = found.suspects || [];
  if (!all.length) return null;
  const shots = (some) => some.map((one) => suspect(one, found.dataset.id));
  const grid = el("div", { class: "shots" }, shots(all.slice(0, ROWS)));
  const rest = all.slice(ROWS);
  const said = `${many(found.suspects_in_all, "label is", "labels are")} probably wrong, the lowest score of the given label first.`;
  return group("Suspect labels", said, grid, more(rest.length, `Show ${rest.length} more`, () => grid.append(...shots(rest))));
}

function suspect(one, dataset) {
  return thumb(`${ROOT}/v1/datasets/${dataset}/examples/${one.example}/picture`, one.name,
    el("span", { class: "answer-wrong", title: one.label }, el("span", {}, one.label || `without ${one.suggested}`),
      el("i", {}, percent(one.score, 0))),
    el("span", { title: one.suggested }, "rather ", one.suggested || "without it"));
}

/** Return what the rejection rule believes and turns away; nothing if no rule was asked for. */
function rejection(found) {
  const rule = found.rejection;
  if (!rule) return null;
  const title = "What it does not know";
  if (rule.reason) return group(title, rule.reason);
  const right = rule.precision == null ? "none to judge" : `${percent(rule.precision)} of these correct`;
  const rows = rule.foreign.map((kind) => bar(kind.kind, kind.rejected / kind.pictures, `${kind.rejected} of ${kind.pictures}`));
  return group(title, `It believes as many answers as it can with ${percent(rule.wanted)} of them correct, and doubts the others.`,
    el("div", { class: "card" },
      el("div", { class: "stats" },
        stat(percent(rule.believed / Math.max(1, rule.pictures)), "believed", `${rule.believed} of ${many(rule.pictures, "test picture")}`),
        stat(rule.precision == null ? "–" : percent(rule.precision), "precision", right)),
      el("h3", {}, "Pictures of something else that it doubts"), rows, coverage(rule)));
}

/** Return coverage against accuracy, for lower and lower scores. */
function coverage({ curve: points, believed, pictures, precision }) {
  if (points.length < 2) return null;
  const at = { coverage: believed / Math.max(1, pictures), accuracy: precision ?? points[0].accuracy };
  const rows = [0, Math.floor(points.length / 2), points.length - 1].map((place) => points[place]);
  const table = el("table", { class: "numbers even" }, heads("lowest score", "believed", "correct"),
    el("tbody", {}, rows.map((point) => el("tr", {}, el("th", { scope: "row" }, point.min_score.toFixed(2)),
      el("td", {}, percent(point.coverage), track(point.coverage)), el("td", {}, percent(point.accuracy), track(point.accuracy))))));
  return [el("h3", {}, "Test pictures, had it another lowest score"),
    el("div", { class: "curves" }, tradeoff(points, at), el("p", { class: "legend" }, "The dot is where the rule of this version is.")), table];
}

function more(count, title, show) {
  if (count < 1) return null;
  const press = (event) => { show(); event.target.remove(); };
  return el("button", { class: "quiet more", type: "button", onclick: press }, title);
}

function making(found, training) {
  const { examples, dataset, machine, seconds } = found;
  const times = Object.entries(seconds).filter(([name, value]) => name !== "total" && value)
    .map(([name, value]) => `${name.replace("_", " ")} ${lasting(value)}`);
  const known = Object.entries(machine).filter(([, value]) => value !== "");
  const loss = found.train_loss == null ? "" : `, loss ${found.train_loss.toFixed(3)}`;
  const parameters = Object.entries(found.parameters).map(([name, value]) =>
    el("span", { class: "parameter" }, el("code", {}, name), ` ${value}`));
  return group("Method and data", "", el("div", { class: "card" }, facts([
    ["dataset", el("a", { href: `${ROOT}/ui/datasets/${dataset.id}` }, `${dataset.name}, version ${dataset.version}`)],
    ["pictures", `${examples.training} training, ${examples.validation} validation, ${examples.test} test`],
    ["base", found.base],
    ["method", method(found.method)],
    ["epochs", `${found.epochs} in all, best epoch of its stage ${found.best_epoch}; ${STOPPED[found.stopped]}`],
    ["training pictures", `${percent(found.train_accuracy)} correct${loss}`],
    ["validation pictures", found.validation_accuracy == null ? "" : `${percent(found.validation_accuracy)} correct`],
    ["time", `${lasting(seconds.total)}${times.length ? `: ${times.join(", ")}` : ""}`],
    ["machine", known.map(([name, value]) => `${name} ${value}`).join(", ")],
    ["parameters", parameters],
    ["training", el("code", {}, training.id)],
  ]), verbatim("Command", `inferq classify --model ${training.name} --version ${training.model.version} PICTURE`)));
}
