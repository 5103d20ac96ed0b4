// The front page: hand over pictures, see their labels, and copy the same request.
import { Problem, ROOT, call, follow, get, key, lines, pause, picture, upload } from "./api.js";
import { Choice } from "./choice.js";
import { $, bar, copying, el, many, moving, percent, progress, trouble, whenKeyed } from "./page.js";
import { isArchive, shownAs, ways } from "./pictures.js";
import { answer, heatMap } from "./prediction.js";
import { snippets } from "./snippets.js";
import { ofJob } from "./thumbs.js";
import { timing } from "./timing.js";

const LISTED = 100; // pictures of a job that are shown here; the job's page has all
const BETWEEN = 500; // milliseconds between two looks at the results of a job, at least
const NAMED = 10; // pictures that the request names
const PLACEHOLDER = "photo.jpg"; // named in the request while no picture is chosen
const place = $("answer");
const choice = new Choice($("choice"), () => { describe(); again(); });
let sent = { names: [PLACEHOLDER], address: "" };
let repeat = null; // sends the last pictures again
let isLarge = false; // whether that sends more than one picture
let busy = new AbortController();

// -- sending

/** Classify files: one picture at once, several or an archive as a job whose answers appear one by one. */
function classify(files, leftOut = 0) {
  if (!files.length) {
    place.replaceChildren(el("p", { class: "card calm" }, "The folder has no pictures."));
    return;
  }
  sent = { names: files.map((file) => file.name), address: "" };
  const shown = files.map(shownAs);
  const single = files.length === 1 && !isArchive(files[0]);
  const skipped = leftOut ? el("p", { class: "calm" }, `${many(leftOut, "file was", "files were")} left out: no pictures by their names.`) : null;
  run(!single, async (signal) => {
    const form = new FormData();
    for (const file of files) form.append("files", file);
    for (const [name, value] of choice.options()) form.append(name, String(value));
    const told = single ? waiting(files[0].name, shown[0]) : sending(files, signal);
    const job = await upload(`${ROOT}/v1/${single ? "classify" : "jobs"}`, form, told);
    if (signal.aborted) return;
    if (single) await one(job, shown[0], signal);
    else await several(job, isArchive(files[0]) ? [] : shown, skipped, signal);
  });
}

/** Classify the picture at an address, which the service fetches. */
function fetched(address) {
  sent = { names: [], address };
  run(false, async (signal) => {
    waiting(address, "");
    const json = { inputs: [{ url: address }], ...Object.fromEntries(choice.options()) };
    await one(await call("POST", `${ROOT}/v1/classify`, { json }), "", signal);
  });
}

/** Send what `work` sends, now and again when another model is chosen; only the last one is shown. */
async function run(large, work) {
  repeat = () => run(large, work);
  isLarge = large;
  busy.abort();
  busy = new AbortController();
  const { signal } = busy;
  describe();
  try {
    await work(signal);
  } catch (error) {
    if (signal.aborted) return;
    place.replaceChildren(isRefusal(error) ? refused(error) : trouble(error, repeat));
  }
}

/** Send a single picture again at once, and offer to send several. */
function again() {
  if (repeat && !isLarge) repeat();
  if (!isLarge || $("again")) return;
  const offer = el("button", { type: "button", class: "quiet", onclick: repeat }, "Classify them again");
  place.prepend(el("p", { id: "again", class: "actions" }, offer, el("span", { class: "calm" }, "The choice has changed.")));
}

/** Let readers of the screen know, without a word for each of many rows. */
function announce(text) {
  $("said").textContent = text;
}

/** Return whether the same request would fail again: the picture or the choice is at fault. */
function isRefusal(error) {
  return error instanceof Problem && error.status >= 400 && error.status < 500 && ![401, 403, 429].includes(error.status);
}

function refused(error) {
  return el("div", { class: "card", role: "alert" }, el("p", { class: "wrong" }, error.message));
}

// -- one picture

function waiting(name, src) {
  place.replaceChildren(el("div", { class: "card single" }, preview(src, name),
    el("div", {}, el("h2", {}, name), el("p", { class: "calm" }, "looking …"))));
  announce("looking …");
  return () => {};
}

function preview(src, name) {
  if (!src) return null;
  return el("img", { class: "preview", src, alt: name });
}

async function one(first, src, signal) {
  let job = first;
  if (!job.terminal) {
    await follow(job.links.self, () => {}, signal);
    job = await get(first.links.self, { signal });
  }
  if (signal.aborted) return;
  const [prediction] = job.predictions;
  const shown = src || (await picture(`${job.links.pictures}/0/thumbnail?side=640`, signal).catch(() => "")); // the browser lacks the format, or the bytes
  if (signal.aborted) return;
  const steps = el("div", { class: "when" });
  const best = (prediction.results || [])[0];
  place.replaceChildren(el("div", { class: `card single${prediction.explanation ? " explains" : ""}` }, preview(shown, prediction.name),
    el("div", {}, el("h2", {}, best ? best.label : prediction.name),
      el("p", { class: "calm" }, best ? `${prediction.name}, by ` : "", byModel(job)), answer(prediction)),
    prediction.explanation ? heatMap(prediction.explanation) : null, steps, jobLink(job)));
  announce(best ? `${best.label}, ${percent(best.score)}` : "No label reaches its threshold.");
  steps.replaceChildren(timing(job) || "");
}

function byModel({ model }) {
  return `${model.name} ${model.version}`;
}

function jobLink(job) {
  return el("p", { class: "more" }, el("a", { href: `${ROOT}/ui/jobs/${job._id}` }, "The job of this request"));
}

// -- several pictures

function sending(files, signal) {
  const what = files.length === 1 ? files[0].name : many(files.length, "picture");
  return (share) => {
    if (signal.aborted) return;
    const says = share < 1 ? `Sending ${what}` : "Sent; the service is checking it …";
    place.replaceChildren(el("div", { class: "card" }, moving(says, share, "Progress of the upload")));
  };
}

/** Show the job and each of its pictures; `shown` are the addresses of those that the browser has. */
async function several(job, shown, skipped, signal) {
  const head = el("div");
  const rows = job.request.files.slice(0, LISTED).map((name, position) => new Row(name, shown[position] || ofJob(job, position, 160)));
  const rest = job.progress.total - rows.length;
  const foot = el("div");
  place.replaceChildren(el("div", { class: "card" }, head, skipped, foot), el("ol", { class: "card rows results" }, rows.map((row) => row.item)));
  if (rest > 0) place.append(el("p", { class: "calm" }, `And ${many(rest, "more picture")}: see the job.`));
  let seen = job;
  const news = (summary) => { seen = summary; head.replaceChildren(...standing(summary)); };
  news(job);
  foot.replaceChildren(jobLink(job));
  const results = async () => {
    for (const line of await lines(job.links.results, signal)) if (rows[line.position]) rows[line.position].show(line);
  };
  const following = follow(job.links.self, news, signal);
  await watch(() => seen.progress, following, results, signal);
  const ended = await get(job.links.self, { signal });
  if (signal.aborted) return;
  await results();
  news(ended);
  foot.replaceChildren(timing(ended) || "", jobLink(ended));
  announce(told(ended));
}

/** Fetch the results whenever more pictures have ended, until `following` has ended. Throws what that throws. */
async function watch(progressed, following, results, signal) {
  let ended = false;
  following.catch(() => {}).finally(() => { ended = true; });
  for (let known = 0; !ended && !signal.aborted;) {
    const { done, failed } = progressed();
    const began = performance.now();
    if (done + failed > known) await results().catch(() => {}); // the last look shows all of them
    known = done + failed;
    await Promise.race([following.catch(() => {}), pause(Math.max(BETWEEN, 3 * (performance.now() - began)), signal)]);
  }
  await following;
}

function told(job) {
  const { total, done, failed } = job.progress;
  if (!job.terminal) return `${done + failed} of ${many(total, "picture")}, by ${byModel(job)}`;
  return `${many(done, "picture")} answered${failed ? `, ${failed} without an answer` : ""}, by ${byModel(job)}`;
}

function standing(job) {
  const { total, done, failed } = job.progress;
  return [el("p", { class: "headline" }, el("span", {}, told(job)), el("b", {}, percent(total ? (done + failed) / total : 0, 0))),
    progress(total ? (done + failed) / total : 0, "Pictures that have ended")];
}

/** The row of one picture, which opens to show all its labels. */
class Row {
  /** `picture` is its place, or the address of what the browser has. */
  constructor(name, picture) {
    this.best = el("span", { class: "best" }, el("span", { class: "calm" }, "waiting …"));
    this.all = el("div", { class: "all" });
    const thumb = picture instanceof Element ? picture : el("img", { src: picture, alt: "", loading: "lazy" });
    this.item = el("li", {}, el("details", {}, el("summary", {}, thumb, el("span", { class: "name", title: name }, name), this.best), this.all));
  }

  show(prediction) {
    const { results = [], error, doubt, explanation } = prediction;
    if (!results.length && !error && prediction.status) return;
    this.item.classList.toggle("failed", Boolean(error));
    const [best] = results;
    this.best.replaceChildren(error ? el("span", { class: "wrong" }, error.message)
      : best ? bar(best.label, best.score, percent(best.score)) : el("span", { class: "calm" }, "no label reaches its threshold"),
    doubt ? el("span", { class: "state doubted" }, "not believed") : "");
    if (this.all.childElementCount) return;
    this.all.replaceChildren(answer(prediction), explanation ? heatMap(explanation) : "");
  }
}

// -- the same request

const code = el("pre", { id: "code", tabindex: 0, role: "tabpanel" });
const tabs = el("div", { role: "tablist", "aria-label": "Language", class: "tabs" });
const rest = el("p", { class: "calm" });
let language = 0;

function describe() {
  const names = sent.names.slice(0, NAMED);
  const left = sent.names.length - names.length;
  rest.textContent = left ? `And ${many(left, "more picture")}, named in the same way.` : "";
  const found = snippets({ ...sent, names, options: choice.options(), keyed: Boolean(key()), base: location.origin + ROOT });
  code.textContent = found[language][1];
  code.setAttribute("aria-label", found[language][0]);
  if (tabs.childElementCount) return;
  tabs.append(...found.map(([name], index) => tab(name, index)));
}

function tab(name, index) {
  const made = el("button", { type: "button", role: "tab", "aria-selected": String(index === language), "aria-controls": "code",
    tabindex: index === language ? 0 : -1, onclick: () => open(index) }, name);
  made.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) open((index + step + tabs.childElementCount) % tabs.childElementCount, true);
  });
  return made;
}

function open(index, focus = false) {
  language = index;
  [...tabs.children].forEach((one, at) => {
    one.setAttribute("aria-selected", String(at === index));
    one.tabIndex = at === index ? 0 : -1;
  });
  if (focus) tabs.children[index].focus();
  describe();
}

// -- the page

async function sample(button) {
  const image = button.querySelector("img");
  const bytes = await (await fetch(image.src)).blob();
  classify([new File([bytes], button.dataset.name, { type: bytes.type })]);
}

ways($("ways"), classify, fetched);
for (const button of document.querySelectorAll(".sample")) button.addEventListener("click", () => sample(button));
$("request").append(tabs, el("div", { class: "curl" }, code, copying(code)), rest);
whenKeyed(async () => {
  describe();
  try {
    await choice.load();
    if (!repeat) place.replaceChildren();
    else if (place.querySelector("[role=alert]")) repeat();
  } catch (error) {
    place.replaceChildren(trouble(error, () => location.reload()));
  }
});
