// One job: its progress while it runs, where its time went, its pictures with their outcomes, and what can be done.
import { ROOT, call, download, follow, get } from "./api.js";
import { batches } from "./batches.js";
import { Gallery } from "./gallery.js";
import { $, ago, button, el, facts, fill, fold, group, many, moving, state, sure, trouble, whenKeyed } from "./page.js";
import { timing } from "./timing.js";

const OFTEN = 1000; // milliseconds between two looks at pictures that have ended meanwhile
const id = location.pathname.split("/").pop();
const path = `${ROOT}/v1/jobs/${id}`;
const place = $("content");
let watching = new AbortController();

async function load() {
  watching.abort();
  watching = new AbortController();
  const { signal } = watching;
  let found;
  await fill(place, async () => { found = await get(path, { signal }); return found; }, () => [], load);
  if (!found || signal.aborted) return;
  const gallery = new Gallery(found);
  const live = el("div");
  const says = el("div", { "aria-live": "polite" });
  head(found);
  live.replaceChildren(...standing(found));
  place.replaceChildren(el("p", { class: "actions" }, actions(found, says, gallery)), says, live, fold("Request", el("div", { class: "card" }, asked(found))),
    group("Pictures", "", gallery.place));
  if (found.terminal) return;
  try {
    await watch(found, gallery, live, signal);
    if (!signal.aborted) await load(); // what an event does not carry: the timeline and the outcomes
  } catch (error) {
    if (!signal.aborted) place.replaceChildren(trouble(error, load));
  }
}

/** Show each change of the job until it has ended. */
async function watch(found, gallery, live, signal) {
  let looked = 0;
  await follow(path, (job) => {
    const now = { ...found, ...job };
    head(now);
    live.replaceChildren(...standing(now));
    if (Date.now() - looked > OFTEN) {
      looked = Date.now();
      gallery.refresh();
    }
  }, signal);
}

function head(job) {
  const { total } = job.progress;
  const name = job.request.files[0] || `Job ${id.slice(-8)}`;
  const title = total > 1 ? `${name} and ${many(total - 1, "more", "more")}` : name;
  document.title = `${job.terminal ? "" : `${job.status.toLowerCase()} · `}${title} · inferq`;
  $("hero").replaceChildren(el("h1", {}, title, " ", state(job.status)),
    el("p", {}, `${many(total, "picture")} for ${job.model.name} ${job.model.version}, sent `, ago(job.created_at),
      job.wire === "native" ? "" : ` by the wire ${job.wire}`, job.priority === "normal" ? "" : `, with ${job.priority} priority`, "."));
}

/** Return the buttons for what can be done with the job now. */
function actions(job, says, gallery) {
  const { failed } = job.progress;
  if (!job.terminal) {
    return [sure("Cancel", "Cancel it? What has not run stays without an answer", says, () => call("POST", `${path}/cancel`))];
  }
  const again = async () => { await call("POST", `${path}/retry`); await load(); };
  const mayRun = job.status === "EXPIRED" || (failed && job.status !== "CANCELLED");
  const stem = `inferq-${id.slice(-8)}`;
  return [
    mayRun ? button(failed ? `Run ${many(failed, "failed picture")} again` : "Run it again", says, again, "") : null,
    button("Download as JSON", says, () => download(`${path}/results`, "ndjson", `${stem}.ndjson`)),
    button("Download as CSV", says, () => download(`${path}/results`, "csv", `${stem}.csv`)),
    sure("Delete", "Delete it with its pictures and answers?", says, async () => {
      await call("DELETE", path);
      gallery.stop();
      location.assign(`${ROOT}/ui/jobs`);
    }),
  ];
}

/** Return where the job stands, or why it failed, and where its time went. */
function standing(job) {
  const { total, done, failed } = job.progress;
  const parts = [];
  if (!job.terminal) {
    const ended = done + failed;
    const says = job.status === "QUEUED" ? waits(job) : `${ended.toLocaleString("en")} of ${many(total, "picture")}`;
    parts.push(el("div", { class: "card" }, moving(says, job.status === "QUEUED" ? null : ended / total, "Pictures that have ended")));
  }
  if (job.error_description) {
    const what = job.status === "EXPIRED" ? "Expired" : "Failed";
    parts.push(el("div", { class: "card" }, el("h2", {}, what), el("p", { class: "wrong" }, job.error_description)));
  }
  if (job.status === "CANCELLED") parts.push(el("div", { class: "card" }, el("p", { class: "calm" }, "It was cancelled; pictures that had not run have no answer.")));
  const bar = job.terminal ? timing(job) : null;
  const table = batches(job);
  if (bar || table) parts.push(el("div", { class: "card" }, bar, table));
  return parts;
}

function waits({ position, eta }) {
  const where = position ? `Waiting: picture ${position.toLocaleString("en")} in the queue` : "Waiting";
  if (!eta) return where;
  const seconds = Math.max(1, Math.round((new Date(eta) - Date.now()) / 1000));
  return `${where}, done in about ${seconds < 90 ? `${seconds} s` : `${Math.round(seconds / 60)} min`}`;
}

function asked(job) {
  const options = Object.entries(job.request.options).map(([name, value]) =>
    el("span", { class: "parameter" }, `${name} `, el("code", {}, typeof value === "string" ? value || "–" : JSON.stringify(value))));
  const metadata = Object.keys(job.metadata).length ? el("code", {}, JSON.stringify(job.metadata)) : "";
  return facts([
    ["id", el("code", {}, job._id)], ["options", options], ["metadata", metadata], ["started", ago(job.started_at)],
    ["ended", ago(job.finished_at)], ["deadline", job.deadline ? ago(job.deadline) : ""], ["retries", job.retries || ""],
    ["tenant", job.tenantName],
  ]);
}

$("hero").before(el("p", { class: "back" }, el("a", { href: `${ROOT}/ui/jobs` }, "All jobs")));
whenKeyed(load);
