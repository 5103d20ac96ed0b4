// One dataset: its labels, what could not be used, its pictures, and a form that starts a training.
import { get, pause } from "./api.js";
import { $, ago, bar, el, facts, fill, fold, group, many, progress, state, whenKeyed } from "./page.js";
import { starting } from "./starting.js";
import { thumb } from "./thumbs.js";

const AGAIN = 1000; // milliseconds
const PAGE = 24;
const LABELS = 40; // that are shown before they are asked for
const path = `/v1/datasets/${location.pathname.split("/").pop()}`;
const place = $("content");
let round = 0;

async function load() {
  const mine = ++round;
  for (let live = true; live && mine === round;) {
    live = false;
    await fill(place, () => get(path), (dataset) => {
      live = dataset.state === "LOADING";
      return show(dataset);
    }, load);
    if (live) await pause(AGAIN);
  }
}

function show(dataset) {
  document.title = `${dataset.name} · inferq`;
  $("hero").replaceChildren(el("h1", {}, dataset.name, " ", state(dataset.state)),
    el("p", {}, `${many(dataset.examples, "picture")} of ${many(dataset.labels.length, "label")}, version ${dataset.version}, created `, ago(dataset.created_at)));
  const usable = dataset.state === "READY" && dataset.examples;
  return [standing(dataset), dataset.labels.length ? labels(dataset) : null, unreadable(dataset),
    usable ? starting(dataset) : null, dataset.examples ? pictures(dataset) : null];
}

function standing(dataset) {
  if (dataset.state === "LOADING") {
    return el("div", { class: "card" },
      el("p", { class: "headline" }, el("span", {}, dataset.message || "Waiting to be loaded …"), el("b", {}, `${Math.round(dataset.progress * 100)} %`)),
      progress(dataset.progress, "How far the loading is"));
  }
  if (dataset.state === "DELETING") return el("div", { class: "card" }, el("p", {}, "It is being deleted."));
  if (dataset.message) return el("div", { class: "card" }, el("h3", {}, "The last archive could not be loaded"), el("p", { class: "wrong" }, dataset.message));
  if (!dataset.examples) return el("div", { class: "card empty" }, el("p", {}, "No pictures yet. Add an archive of label folders:"), el("pre", {}, `inferq datasets add ${dataset.id} FOLDER`));
  return null;
}

function labels(dataset) {
  const most = Math.max(1, ...dataset.labels.map((label) => label.examples));
  const lines = dataset.labels.map((label) => bar(label.name, label.examples / most, label.examples.toLocaleString("en")));
  const rest = lines.slice(LABELS);
  return group("Labels", "", el("div", { class: "card" }, lines.slice(0, LABELS), rest.length ? fold(`${many(rest.length, "more label")}`, rest) : null));
}

function unreadable(dataset) {
  const { duplicates, unreadable: count, reasons } = dataset;
  if (!duplicates && !count) return null;
  const left = count - reasons.length;
  return group("Left out", "", el("div", { class: "card" },
    facts([["duplicates", duplicates ? many(duplicates, "picture that was there already", "pictures that were there already") : ""], ["unusable", count ? many(count, "file") : ""]]),
    reasons.length ? fold("Which, and why", el("ul", { class: "reasons" }, reasons.map(({ path: file, why }) => el("li", {}, el("code", {}, file), el("span", {}, why)))),
      left > 0 ? el("p", { class: "calm" }, `And ${left} more.`) : null) : null));
}

/** The pictures in pages, of one label where one is chosen. */
function pictures(dataset) {
  const grid = el("div", { "aria-live": "off" });
  const choice = el("select", { "aria-label": "Label", onchange: () => turn([""]) }, el("option", { value: "" }, "all labels"),
    dataset.labels.map((label) => el("option", { value: label.name }, `${label.name} (${label.examples})`)));
  const turn = (cursors) => {
    const query = new URLSearchParams({ limit: PAGE, cursor: cursors.at(-1), ...(choice.value ? { label: choice.value } : {}) });
    fill(grid, () => get(`${path}/examples?${query}`), (page) => [
      page.examples.length ? el("div", { class: "shots" }, page.examples.map(shot)) : el("p", { class: "calm" }, "No pictures of this label."),
      cursors.length > 1 || page.next ? pager(cursors, page.next, turn) : null,
    ]);
  };
  turn([""]);
  return group("Pictures", "", el("div", { class: "choose" }, choice), grid);
}

function shot(example) {
  const given = example.split ? ` · ${example.split}` : "";
  const corrected = example.source && example.source !== "upload" ? ` · ${example.source}` : "";
  return thumb(example.links.picture, example.name, el("span", { class: "of", title: example.label.name }, example.label.name, el("i", {}, given, corrected)));
}

function pager(cursors, next, turn) {
  const go = (to) => { turn(to); };
  return el("p", { class: "pager" },
    el("button", { class: "quiet", type: "button", disabled: cursors.length === 1, onclick: () => go(cursors.slice(0, -1)) }, "Before"),
    el("span", {}, `page ${cursors.length}`),
    el("button", { class: "quiet", type: "button", disabled: !next, onclick: () => go([...cursors, next]) }, "Next"));
}

whenKeyed(load);
