// The jobs, newest first. Filters and place are in the address; the list is kept up to date while it is looked at.
import { ROOT, get, pause } from "./api.js";
import { $, ago, el, empty, fill, filter, many, pager, percent, progress, remember, state, whenKeyed } from "./page.js";
import { ofJob } from "./thumbs.js";

const AGAIN = 2000; // milliseconds between two looks at the list
const PAGE = 30;
const STATUSES = ["QUEUED", "RUNNING", "DONE", "FAILED", "CANCELLED", "EXPIRED"];
const WIRES = [["", "all wires"], ["native", "native"], ["sap", "SAP Leonardo"], ["einstein", "Einstein Vision"],
  ["huggingface", "Hugging Face"], ["img", "IMG Processing"]];
const TIMES = { hour: 3600, day: 86400, week: 604800 }; // seconds
const TIME_WORDS = [["", "any time"], ["hour", "the last hour"], ["day", "the last day"], ["week", "the last week"]];
const DOUBTS = { low_score: "unsure", unlike_training: "unlike the training" };
const rows = new Map(); // id -> the row of a job, which keeps its picture and the focus while the job changes
const list = el("div", { class: "card rows" });
const news = el("button", { type: "button", class: "quiet", hidden: true, onclick: () => { scrollTo(0, 0); load(); } });
const place = el("div");
const asked = { status: "", model: "", wire: "", time: "", text: "" };
let cursors = [""]; // of the pages up to the one that is shown
let shown = []; // the ids of the jobs on the page
let round = 0;

/** Show the jobs of the address, and look again until other ones are wanted. */
async function load() {
  const mine = ++round;
  const current = () => mine === round;
  news.hidden = true;
  let first;
  await fill(place, async () => { first = await fetched(); return first; }, (page) => written(page), load);
  while (first && current()) {
    await sight();
    if (!current()) return;
    try {
      const page = await fetched();
      if (current()) refresh(page);
    } catch { /* the service is away for a moment: what is shown stays, and the next look may be answered */ }
  }
}

async function sight() {
  await pause(AGAIN);
  while (document.hidden) {
    await new Promise((resolve) => { document.addEventListener("visibilitychange", resolve, { once: true }); });
  }
}

function fetched() {
  const query = new URLSearchParams({ limit: PAGE, cursor: cursors.at(-1) });
  for (const name of ["status", "model", "wire", "text"]) if (asked[name]) query.set(name, asked[name]);
  if (asked.time) query.set("since", Math.floor(Date.now() / 1000 - TIMES[asked.time]));
  return get(`${ROOT}/v1/jobs?${query}`);
}

function written(page) {
  rows.clear();
  shown = page.jobs.map((job) => job._id);
  if (!shown.length && cursors.length === 1 && !page.next) return nothing();
  const turn = (to) => { cursors = to; remember(asked, cursors); load(); scrollTo(0, 0); };
  if (!shown.length) return [el("p", { class: "card calm" }, "None of the jobs that were looked at so far; there are older ones."), pager(cursors, page.next, turn)];
  list.replaceChildren(...page.jobs.map(row));
  return [list, pager(cursors, page.next, turn)];
}

/** Update the rows of the list. New jobs are only counted as long as a reader is in the list: its rows must not move then. */
function refresh(page) {
  const ids = page.jobs.map((job) => job._id);
  const fresh = ids.filter((id) => !shown.includes(id));
  const reads = list.matches(":hover") || list.contains(document.activeElement) || list.getBoundingClientRect().top < 0;
  if (fresh.length && (!reads || !shown.length)) {
    place.replaceChildren(...[written(page)].flat().filter(Boolean));
    news.hidden = true;
    return;
  }
  for (const job of page.jobs) if (rows.has(job._id)) row(job);
  news.hidden = !fresh.length;
  news.textContent = fresh.length === PAGE ? `${PAGE} or more new jobs` : many(fresh.length, "new job");
}

/** Return the row of a job: made, or brought up to date. */
function row(job) {
  const known = rows.get(job._id);
  const made = known || el("a", { class: "row job", href: `${ROOT}/ui/jobs/${job._id}` }, ofJob(job, 0, 160));
  rows.set(job._id, made);
  const { total } = job.progress;
  const more = total > 1 ? `and ${many(total - 1, "more", "more")}` : "";
  const name = job.first?.name || `Job ${job._id.slice(-8)}`;
  made.replaceChildren(made.firstChild,
    el("span", { class: "what" }, el("b", {}, el("span", { title: name }, name), el("i", {}, more)), el("small", {}, `${job.model.name} ${job.model.version}`)),
    el("span", { class: "moves" }, told(job)),
    el("span", { class: "when" }, state(job.status), el("small", {}, ago(job.finished_at || job.created_at))));
  return made;
}

/** Return how far a job is, or what came of it. */
function told(job) {
  const { total, done, failed } = job.progress;
  if (!job.terminal) {
    const says = total === 1 ? "1 picture" : `${(done + failed).toLocaleString("en")} of ${many(total, "picture")}`;
    return [progress((done + failed) / total, "Pictures that have ended"), el("small", {}, says)];
  }
  if (job.error_description) return el("small", { class: "wrong", title: job.error_description }, job.error_description);
  const { first } = job;
  const best = first?.label ? [el("b", {}, first.label), el("i", {}, percent(first.score)),
    first.doubt ? el("i", { class: "doubt" }, DOUBTS[first.doubt] || "doubted") : null] : null;
  const wrong = failed ? el("small", { class: "wrong" }, `${many(failed, "picture")} failed`) : null;
  return [best ? el("span", { class: "best" }, best) : null,
    wrong || (total > 1 || !best ? el("small", {}, many(done, "picture") + " answered") : null)];
}

function nothing() {
  if (Object.values(asked).some(Boolean)) {
    const all = el("button", { type: "button", onclick: () => choose(Object.fromEntries(Object.keys(asked).map((name) => [name, ""]))) }, "Show all jobs");
    return el("div", { class: "card empty" }, el("p", {}, "No job matches these filters."), all);
  }
  return empty("No jobs yet. Send a picture from the page “Try it”, or on the command line:",
    `curl -F files=@photo.jpg ${location.origin}${ROOT}/v1/jobs`);
}

// -- filters

const select = (name, label, choices) => filter(name, label, choices, choose);
const model = select("model", "Model", [["", "all models"]]);
const find = el("input", {
  name: "text", type: "search", spellcheck: "false", autocomplete: "off", placeholder: "part of a file name or id",
  onchange: () => choose({ text: find.value.trim() }),
});
const filters = el("form", { class: "filters", role: "search", "aria-label": "Jobs", onsubmit: (event) => event.preventDefault() },
  select("status", "Status", [["", "all"], ...STATUSES.map((status) => [status, status.toLowerCase()])]),
  model, select("wire", "Wire", WIRES), select("time", "Created", TIME_WORDS), el("label", {}, "Find", find));

function choose(changed) {
  Object.assign(asked, changed);
  cursors = [""];
  remember(asked, cursors);
  show();
  load();
}

function recall() {
  const query = new URLSearchParams(location.search);
  for (const name of Object.keys(asked)) asked[name] = query.get(name) || "";
  asked.status = asked.status.toUpperCase();
  if (!STATUSES.includes(asked.status)) asked.status = "";
  if (!(asked.time in TIMES)) asked.time = "";
  if (!WIRES.some(([wire]) => wire === asked.wire)) asked.wire = "";
  const cursor = query.get("cursor");
  cursors = history.state?.cursors || (cursor ? ["", cursor] : [""]);
  show();
}

function show() {
  const models = model.querySelector("select");
  if (asked.model && ![...models.options].some((option) => option.value === asked.model)) {
    models.append(el("option", { value: asked.model }, asked.model));
  }
  for (const name of Object.keys(asked)) filters.elements[name].value = asked[name];
}

async function offer() {
  const { models } = await get(`${ROOT}/v1/models`).catch(() => ({ models: [] }));
  const names = models.map((one) => one.name).sort();
  model.querySelector("select").replaceChildren(el("option", { value: "" }, "all models"),
    ...names.map((name) => el("option", { value: name }, name)));
  show();
}

$("content").append(filters, el("p", { class: "news", "aria-live": "polite" }, news), place);
addEventListener("popstate", () => { recall(); load(); });
recall();
whenKeyed(() => { offer(); load(); });
