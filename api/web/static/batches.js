// The batches in which the pictures of a job ran: when, in what company, why each closed, and how long its steps took.
import { el, heads } from "./page.js";

const CLOSED = { none_left: "nothing else waited", full: "it was full", alone: "runs alone, after an attempt before" };
const MOST = 10; // batches that a timeline holds

/** Return the table of batches; null before the first is stored. */
export function batches(job) {
  const { timeline = [], created_at: created } = job;
  if (!timeline.length) return null;
  const again = timeline.some((run) => run.attempt > 1);
  const line = (run) => el("tr", {},
    el("th", { scope: "row", title: new Date(run.claimed_at).toLocaleString() }, since(created, run.claimed_at)),
    el("td", {}, `${run.pictures.toLocaleString("en")} of ${run.batch.toLocaleString("en")}`),
    el("td", {}, CLOSED[run.closed] || "–"), el("td", {}, written(run.decode_ms)), el("td", {}, written(run.forward_ms)),
    el("td", {}, written(Math.max(0, new Date(run.stored_at) - new Date(run.claimed_at) - run.decode_ms - run.forward_ms))),
    again ? el("td", {}, run.attempt) : null,
    el("td", { class: "who", title: run.worker }, run.worker.split("-").slice(-2).join("-")));
  const names = ["claimed", "its pictures", "the batch closed", "decode", "forward", "stored", ...(again ? ["attempt"] : []), "worker"];
  return [
    el("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "Batches" },
      el("table", { class: "numbers even batches" }, heads(...names), el("tbody", {}, timeline.map(line)))),
    timeline.length === MOST ? el("p", { class: "calm" }, "The first nine batches, and the last.") : null,
  ];
}

function since(created, claimed) {
  return `+ ${written(Math.max(0, new Date(claimed) - new Date(created)))}`;
}

function written(milliseconds) {
  if (milliseconds >= 60000) return `${(milliseconds / 60000).toFixed(1)} min`;
  if (milliseconds >= 10000) return `${(milliseconds / 1000).toFixed(1)} s`;
  return `${milliseconds < 10 ? milliseconds.toFixed(1) : Math.round(milliseconds)} ms`;
}
