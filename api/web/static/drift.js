// Whether the pictures of the last days are like those that a version has learned from, in one line of its model.
import { ROOT, get } from "./api.js";
import { el, many } from "./page.js";

const DRIFTED = ["other_labels", "other_confidence", "unlike_pictures"];
const KINDS = ["labels", "confidence", "distance"];

/** Return the drift of the default version of a model; null if it cannot be read, as the line is not worth an error. */
export async function drift(model) {
  try {
    return await get(`${ROOT}/v1/models/${encodeURIComponent(model.name)}/drift`);
  } catch {
    return null;
  }
}

/** Return the line about drift, with what to do; null while there is nothing to compare. */
export function driftLine(found) {
  if (!found || !found.recent || !found.reference) return null;
  const isDrift = DRIFTED.includes(found.verdict);
  const days = found.days.filter((day) => KINDS.some((kind) => day[kind].drifted));
  const seen = `${many(found.recent.pictures, "picture")} since ${found.recent.since}`;
  const marked = days.length ? `; ${many(days.length, "drifted day")} of ${found.days.length}` : "";
  return el("div", { class: "drift" },
    el("p", { class: isDrift ? "wrong" : "calm" }, el("b", {}, "Drift: "),
      `version ${found.version}, ${seen}${marked}. `, isDrift ? `${found.message} ${found.advice}` : found.message),
    el("details", { class: "values" }, el("summary", {}, "distance from the reference"),
      el("dl", {}, KINDS.flatMap((kind) => [el("dt", {}, kind), el("dd", {}, shown(found.recent[kind]))]))));
}

function shown({ effect, p_value: chance, drifted, unknown }) {
  if (effect == null) return unknown.replaceAll("_", " ");
  const likely = chance < 0.001 ? "below 0.001" : chance.toFixed(3);
  return `${effect.toFixed(2)} of 1, probability by chance ${likely}${drifted ? ": a drift" : ""}`;
}
