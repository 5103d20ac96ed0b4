// The trainings, newest first; the page polls while one is active.
import { ROOT, get, pause } from "./api.js";
import { $, ago, el, empty, fill, pager, percent, progress, state, whenKeyed } from "./page.js";

const AGAIN = 2000; // milliseconds
const PAGE = 30;
const place = $("content");
let cursors = [""]; // of the pages up to the one that is shown
let round = 0;

async function load() {
  const mine = ++round;
  for (let live = true; live && mine === round;) {
    live = false;
    await fill(place, fetched, ([page, names]) => {
      live = page.trainings.some((training) => !training.terminal);
      return list(page, names);
    }, load);
    if (live) await sight();
  }
}

/** Wait AGAIN milliseconds, and until the page is visible. */
async function sight() {
  await pause(AGAIN);
  while (document.hidden) {
    await new Promise((resolve) => { document.addEventListener("visibilitychange", resolve, { once: true }); });
  }
}

async function fetched() {
  const [page, datasets] = await Promise.all([
    get(`${ROOT}/v1/trainings?limit=${PAGE}&cursor=${encodeURIComponent(cursors.at(-1))}`), get(`${ROOT}/v1/datasets?limit=500`),
  ]);
  return [page, new Map(datasets.datasets.map((one) => [one.id, one.name]))];
}

function list(page, names) {
  if (!page.trainings.length && cursors.length === 1) {
    return empty("No trainings yet. Start one from the page of a dataset, or on the command line:",
      "inferq train DATASET --base mobilenet_v2 --name NAME");
  }
  const turn = (to) => { cursors = to; load(); };
  const rows = page.trainings.map((training) => row(training, names));
  return [el("div", { class: "card rows" }, rows), pager(cursors, page.next, turn)];
}

function row(training, names) {
  const { dataset } = training;
  const title = training.model ? `${training.name} ${training.model.version}` : training.name;
  const when = training.finished_at || training.created_at;
  const about = [names.get(dataset.id) || `dataset ${dataset.id}`, training.base && `from ${training.base}`]
    .filter(Boolean).join(" · ");
  return el("a", { class: "row", href: `${ROOT}/ui/trainings/${training.id}` },
    el("span", { class: "what" }, el("b", {}, title), el("small", {}, about)),
    el("span", { class: "moves" }, told(training)),
    el("span", { class: "when" }, state(training.status), el("small", {}, ago(when))));
}

/** Return the progress, queue position, accuracy or error of a training, by its status. */
function told(training) {
  if (training.status === "RUNNING") {
    return [progress(training.progress, `Training of ${training.name}`), el("small", {}, training.message)];
  }
  if (training.status === "QUEUED") return el("small", {}, `position ${training.position} in the queue`);
  if (training.status === "DONE") {
    const mean = training.mean_average_precision;
    return el("small", {}, mean == null ? `${percent(training.accuracy)} of the test pictures correct` : `mAP ${percent(mean)}`);
  }
  return el("small", { class: training.status === "FAILED" ? "wrong" : false }, training.error || "");
}

whenKeyed(() => { cursors = [""]; load(); });
