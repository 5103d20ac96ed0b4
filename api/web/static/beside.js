// Versions of a model side by side: what was measured of each, and in what they differ.
import { get } from "./api.js";
import { known } from "./comparing.js";
import { rate } from "./engine.js";
import { ago, bytes, el, fill, group, many, percent, state, track } from "./page.js";
import { values } from "./preparation.js";
import { VERDICTS } from "./report.js";
import { origin, versionAddress, versionPage } from "./versions.js";

const FIRST = 3; // versions that are shown before any is chosen
const NAMED = 4; // labels that are named of those that were added or removed

/** Return the section of a model with several versions; the address of the page holds which are shown. */
export function sideBySide(model) {
  if (model.versions.length < 2) return null;
  const newest = [...model.versions].reverse();
  const chosen = new Set(asked(newest) || first(model, newest));
  const place = el("div");
  const show = () => fill(place, () => Promise.all(ordered(model, newest, chosen).map((one) => get(versionAddress(one)))),
    (versions) => table(model, versions));
  const pick = (event) => {
    const { value, checked } = event.target;
    if (checked) chosen.add(value);
    else chosen.delete(value);
    const query = new URLSearchParams({ versions: [...chosen].join(",") });
    history.replaceState(null, "", chosen.size ? `?${query}` : location.pathname);
    show();
  };
  const boxes = newest.map(({ version }) => el("label", {},
    el("input", { type: "checkbox", value: version, checked: chosen.has(version), onchange: pick }), version));
  show();
  return group("Side by side", "What was measured of each version, and in what it differs from the first.",
    el("fieldset", { class: "picks" }, el("legend", {}, "Versions"), boxes), place);
}

/** Return the versions that the address names and the model has; null if it names none. */
function asked(versions) {
  const named = (new URLSearchParams(location.search).get("versions") || "").split(",");
  const found = versions.map(({ version }) => version).filter((version) => named.includes(version));
  return found.length ? found : null;
}

function first(model, newest) {
  const others = newest.map(({ version }) => version).filter((version) => version !== model.default_version);
  return [model.default_version, ...others].slice(0, FIRST);
}

/** Return the chosen versions: the default first, as the others are measured by it, then the newest. */
function ordered(model, newest, chosen) {
  const shown = newest.filter(({ version }) => chosen.has(version));
  return [...shown.filter(({ version }) => version === model.default_version),
    ...shown.filter(({ version }) => version !== model.default_version)];
}

function table(model, versions) {
  if (!versions.length) return el("p", { class: "calm" }, "Choose versions to see them side by side.");
  const [base] = versions;
  const head = versions.map((one) => el("th", { scope: "col" }, el("a", { href: versionPage(one) }, `version ${one.version}`),
    one.version === model.default_version ? el("em", {}, "default") : null));
  const rows = [...measures(model, base), ...preparations(versions)].map(([name, cell]) => [name, versions.map(cell)])
    .filter(([, cells]) => cells.some((cell) => cell != null && cell !== ""));
  const lines = rows.map(([name, cells]) => el("tr", {}, el("th", { scope: "row" }, name),
    cells.map((cell) => el("td", {}, cell == null || cell === "" ? "–" : cell))));
  return el("div", { class: "card scrolls", role: "region", "aria-label": "Versions side by side", tabindex: 0 },
    el("table", { class: "beside" }, el("thead", {}, el("tr", {}, el("td", {}), head)), el("tbody", {}, lines)));
}

/** Return the rows of the table, as name and a function from a version to its cell. */
function measures(model, base) {
  return [
    ["state", (one) => state(one.state)],
    ["made", (one) => [origin(model, one), small(ago(one.created_at))]],
    ["architecture", (one) => one.architecture],
    ["mAP", ({ evidence }) => evidence && share(evidence.mean_average_precision, evidence.mean_average_precision_interval)],
    ["accuracy", ({ evidence }) => evidence && share(evidence.accuracy, evidence.accuracy_interval)],
    ["macro F1", ({ evidence }) => evidence?.macro_f1.toFixed(3)],
    ["calibration error", ({ evidence }) => evidence && percent(evidence.ece_after)],
    ["tested on", ({ evidence }) => evidence?.examples && many(evidence.examples.test, "picture")],
    ["against the default", ({ version }) => against(known(model, version))],
    ["speed", (one) => rate(one) && [`${rate(one).toLocaleString("en")} pictures/s`, small("of the network alone")]],
    ["engine", (one) => one.engine],
    ["weights", (one) => (one.bytes ? bytes(one.bytes) : "")],
    ["labels", (one) => [one.labels ? one.labels.toLocaleString("en") : "", ...changed(one.label_names, base.label_names)]],
  ];
}

function share(value, bounds) {
  if (value == null) return null;
  return [percent(value), bounds ? small(`${percent(bounds[0])} to ${percent(bounds[1])}`) : null, track(value)];
}

function against(comparison) {
  if (!comparison) return null;
  return [VERDICTS[comparison.report.verdict || "open"].split(";")[0],
    small(`on ${many(comparison.report.pictures, "picture")}`)];
}

/** Return which labels a version has and the first version has not, and the reverse. */
function changed(names, base) {
  const [own, others] = [new Set(names), new Set(base)];
  const said = (sign, list) => {
    const named = list.slice(0, NAMED).join(", ") + (list.length > NAMED ? ` and ${list.length - NAMED} more` : "");
    return list.length ? el("small", { title: list.join(", ") }, `${sign} ${named}`) : null;
  };
  return [said("+", names.filter((name) => !others.has(name))), said("−", base.filter((name) => !own.has(name)))].filter(Boolean);
}

/** Return a row for each value of the preprocessing that is not the same in all versions, or one that says so. */
function preparations(versions) {
  const prepared = versions.map((one) => values(one.preprocessing));
  const names = [...new Set(prepared.flatMap((each) => [...each.keys()]))];
  const differing = names.filter((name) => new Set(prepared.map((each) => each.get(name))).size > 1);
  if (!differing.length) return versions.length > 1 ? [["preprocessing", () => "the same"]] : [];
  return differing.map((name) => [name, (one) => values(one.preprocessing).get(name)]);
}

function small(...inside) {
  return el("small", {}, inside);
}
