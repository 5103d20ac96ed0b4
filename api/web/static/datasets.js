// The datasets, newest first, and the upload of an archive as a new dataset.
import { ROOT, get, pause } from "./api.js";
import { archive } from "./archive.js";
import { $, ago, el, empty, fill, many, pager, progress, state, whenKeyed } from "./page.js";

const AGAIN = 1500; // milliseconds
const PAGE = 50;
const list = el("div");
let cursors = [""]; // of the pages up to the one that is shown
let round = 0;

async function load() {
  const mine = ++round;
  for (let live = true; live && mine === round;) {
    live = false;
    await fill(list, () => get(`${ROOT}/v1/datasets?limit=${PAGE}&cursor=${cursors.at(-1)}`), (page) => {
      live = page.datasets.some((one) => one.state === "LOADING" || one.state === "DELETING");
      return rows(page);
    }, load);
    if (live) await pause(AGAIN);
  }
}

function rows(page) {
  if (!page.datasets.length && cursors.length === 1) {
    const text = "No datasets yet. Drop an archive above, or create one on the command line:";
    return empty(text, "inferq datasets create NAME FOLDER");
  }
  const turn = (to) => { cursors = to; load(); };
  return [el("div", { class: "card rows" }, page.datasets.map(row)), pager(cursors, page.next, turn)];
}

function row(dataset) {
  const shown = dataset.labels.map((label) => label.name);
  const names = [...shown, ...(dataset.label_count > shown.length ? ["…"] : [])].join(", ");
  const loading = dataset.state === "LOADING";
  const holds = [many(dataset.examples, "picture"), many(dataset.label_count, "label"), `version ${dataset.version}`];
  return el("a", { class: "row", href: `${ROOT}/ui/datasets/${dataset.id}` },
    el("span", { class: "what" }, el("b", {}, dataset.name), el("small", { title: names }, names || "no labels yet")),
    el("span", { class: "moves" },
      loading ? [progress(dataset.progress, `Loading of ${dataset.name}`), el("small", {}, dataset.message)]
        : el("small", {}, holds.join(" · "))),
    el("span", { class: "when" }, state(dataset.state), el("small", {}, ago(dataset.created_at))));
}

/** Return the upload form above the list. */
function creation() {
  const name = el("input", { type: "text", placeholder: "name of the archive", autocomplete: "off" });
  const form = () => {
    const said = new FormData();
    if (name.value.trim()) said.append("name", name.value.trim());
    return said;
  };
  const [area, says] = archive(`${ROOT}/v1/datasets`, form, (made) => location.assign(`${ROOT}/ui/datasets/${made.id}`));
  return el("div", { class: "card create" }, area, el("label", { class: "name-it" }, "Name", name), says);
}

$("content").append(creation(), list);
whenKeyed(() => { cursors = [""]; load(); });
