// The datasets, newest first, and a place to drop an archive that becomes one.
import { get, pause, upload } from "./api.js";
import { $, act, ago, dropping, el, empty, fill, many, moving, pager, progress, state, whenKeyed } from "./page.js";

const AGAIN = 1500; // milliseconds
const PAGE = 50;
const list = el("div");
let cursors = [""]; // of the pages up to the one that is shown
let round = 0;

async function load() {
  const mine = ++round;
  for (let live = true; live && mine === round;) {
    live = false;
    await fill(list, () => get(`/v1/datasets?limit=${PAGE}&cursor=${cursors.at(-1)}`), (page) => {
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
  return el("a", { class: "row", href: `/ui/datasets/${dataset.id}` },
    el("span", { class: "what" }, el("b", {}, dataset.name), el("small", { title: names }, names || "no labels yet")),
    el("span", { class: "moves" },
      loading ? [progress(dataset.progress, `Loading of ${dataset.name}`), el("small", {}, dataset.message)]
        : el("small", {}, holds.join(" · "))),
    el("span", { class: "when" }, state(dataset.state), el("small", {}, ago(dataset.created_at))));
}

/** The form above the list. */
function creation() {
  const name = el("input", { type: "text", placeholder: "as the archive is called", autocomplete: "off" });
  const file = el("input", { type: "file", accept: ".zip,.tar,.tgz,.gz" });
  const says = el("div", { class: "sends", "aria-live": "polite" });
  const area = el("label", { class: "drop" }, file, el("strong", {}, "Drop an archive here"),
    el("span", {}, "or choose one: a zip, tar or tar.gz with a folder of pictures for each label"));
  dropping(area, ([archive]) => act(file, says, () => send(archive, name.value.trim(), says)));
  return el("div", { class: "card create" }, area, el("label", { class: "name-it" }, "Name", name), says);
}

async function send(archive, name, says) {
  const form = new FormData();
  if (name) form.append("name", name);
  form.append("file", archive);
  const tell = (share) => {
    const now = share < 1 ? `Sending ${archive.name}` : "All is sent; the service looks at it …";
    says.replaceChildren(...moving(now, share, "How much is sent"));
  };
  tell(0);
  const made = await upload("/v1/datasets", form, tell);
  location.assign(`/ui/datasets/${made.id}`);
}

$("content").append(creation(), list);
whenKeyed(() => { cursors = [""]; load(); });
