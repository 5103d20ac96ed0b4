// What runs a version: the candidates that a worker tried, what it measured of each, and which one serves.
import { ago, el, facts, heads, many, percent, track } from "./page.js";

/** Return the pictures per second of the candidate that serves; null if nothing was measured. */
export function rate({ engine_report: report }) {
  if (!report) return null;
  const serving = report.chosen || report.runtime;
  const rates = report.pictures_per_second;
  return rates[serving] ?? rates[serving.split(",")[0]] ?? rates[report.runtime] ?? null;
}

/** Return the engine of a version with its measurements. */
export function engine({ engine: runs, engine_report: report }) {
  const now = el("p", {}, runs ? ["It runs with ", el("b", {}, runs), "."] : "No worker runs it at this moment.");
  if (!report) return [now, el("p", { class: "calm" }, "No other engine was tried yet: only busy models are.")];
  const names = [...new Set([...Object.keys(report.pictures_per_second), ...Object.keys(report.errors)])];
  const fastest = Math.max(...Object.values(report.pictures_per_second), 1);
  const serving = report.chosen || report.runtime;
  const compared = report.pictures > 0;
  const columns = ["engine", "pictures/s", ...(compared ? ["same label", "scores move by"] : [])];
  return [now,
    el("table", { class: "numbers even" }, heads(...columns),
      el("tbody", {}, names.map((name) => candidate(name, report, { fastest, serving, compared })))),
    tried(report.refused),
    el("p", { class: "calm" }, `Measured with ${many(report.threads, "thread")} of ${report.processor || "this machine"}, `,
      ago(report.measured_at), `, for the precision ${report.precision}`,
      compared ? `; labels and scores against the plain network in float32, on ${many(report.pictures, "picture")}.` : ".")];
}

function candidate(name, report, { fastest, serving, compared }) {
  const speed = report.pictures_per_second[name];
  const { agreement, score_difference: moved } = report.errors[name] || {};
  return el("tr", {}, el("th", { scope: "row", title: name }, name, name === serving ? el("em", {}, "serves") : null),
    el("td", {}, speed == null ? "–" : [speed.toLocaleString("en"), track(speed / fastest)]),
    compared ? [el("td", {}, percent(agreement)), el("td", {}, moved == null ? "–" : moved.toPrecision(2))] : null);
}

/** Return what was tried and does not answer, with the reasons. */
function tried(refused) {
  const rows = Object.entries(refused || {});
  return rows.length ? [el("h3", {}, "Tried and not taken"), facts(rows)] : null;
}
