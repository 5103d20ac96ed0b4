// How long a job took, step by step, from its timeline.
import { el, many } from "./page.js";

const STEPS = [["queued", "until a worker took it"], ["decode", "reading the pictures"], ["forward", "in the network"],
  ["stored", "until the answer was stored"]];

/** Return the milliseconds of each step, and of all: {queued, decode, forward, stored, total}; null without a timeline. */
export function steps(job) {
  const { timeline = [], created_at: created, finished_at: finished } = job;
  if (!timeline.length || !finished) return null;
  const sum = (of) => timeline.reduce((all, run) => all + of(run), 0);
  const [decode, forward] = [sum((run) => run.decode_ms), sum((run) => run.forward_ms)];
  const taken = sum((run) => new Date(run.stored_at) - new Date(run.claimed_at));
  return {
    queued: Math.max(0, new Date(timeline[0].claimed_at) - new Date(created)), decode, forward,
    stored: Math.max(0, taken - decode - forward), total: new Date(finished) - new Date(created),
  };
}

/** Return a bar of the steps with their times; null of a job that tells none. */
export function timing(job) {
  const found = steps(job);
  if (!found) return null;
  const shown = STEPS.filter(([name]) => found[name] != null);
  const all = shown.reduce((sum, [name]) => sum + found[name], 0) || 1;
  const parts = shown.map(([name]) => {
    const part = el("i", { class: name });
    part.style.flexGrow = found[name] / all;
    return part;
  });
  const runs = job.timeline.length;
  const where = runs > 1 ? `in ${many(runs, "batch", "batches")}` : `by ${job.timeline[0].worker}`;
  return el("div", { class: "timing" },
    el("p", { class: "headline" }, el("span", {}, `Answered in ${written(found.total)}`), el("small", {}, where)),
    el("div", { class: "steps", "aria-hidden": "true" }, parts),
    el("dl", {}, shown.map(([name, meaning]) => el("div", { title: meaning },
      el("dt", { class: name }, name), el("dd", {}, written(found[name]))))));
}

function written(milliseconds) {
  if (milliseconds >= 10000) return `${(milliseconds / 1000).toFixed(1)} s`;
  return `${milliseconds < 10 ? milliseconds.toFixed(1) : Math.round(milliseconds)} ms`;
}
