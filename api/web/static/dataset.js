// One dataset: labels, those that are suspect, near-duplicates, unusable files, pictures, and a form that starts a training.
import { ROOT, get, pause } from "./api.js";
import { archive } from "./archive.js";
import { editing, offered } from "./editing.js";
import { MULTI_LABEL, named } from "./labels.js";
import { nearDuplicates } from "./near_duplicates.js";
import {
  $, ago, bar, el, empty, facts, fill, fold, group, many, moving, pager, state, whenKeyed, words,
} from "./page.js";
import { starting } from "./starting.js";
import { suspects } from "./suspects.js";
import { thumb } from "./thumbs.js";

const AGAIN = 1000; // milliseconds
const PAGE = 24;
const LABELS = 40; // shown before the list is unfolded
const path = `${ROOT}/v1/datasets/${location.pathname.split("/").pop()}`;
const place = $("content");
let round = 0;
let parts = {}; // the labels, the pictures and the near-duplicates, which a decision about a picture changes

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

/** Show how many pictures each label has now. */
async function recount() {
  const dataset = await get(path);
  head(dataset);
  const fresh = labels(dataset);
  parts.labels.replaceWith(fresh);
  parts.labels = fresh;
  parts.copies?.renew();
  return dataset;
}

/** Show what a decision about a picture in another section changes, and leave the rest of the page as it is. */
async function refresh() {
  const fresh = pictures(await recount());
  parts.pictures.replaceWith(fresh);
  parts.pictures = fresh;
}

function head(dataset) {
  document.title = `${dataset.name} · inferq`;
  $("hero").replaceChildren(el("h1", {}, dataset.name, " ", state(dataset.state)),
    el("p", {}, `${many(dataset.examples, "picture")} of ${many(dataset.labels.length, "label")}, `,
      dataset.problem_type === MULTI_LABEL ? "any number of them for each picture, " : "",
      `version ${dataset.version}, created `, ago(dataset.created_at)));
}

function show(dataset) {
  head(dataset);
  const ready = dataset.state === "READY";
  const full = ready && dataset.examples;
  parts = dataset.examples ? { labels: labels(dataset), pictures: pictures(dataset) } : {};
  if (full) parts.copies = nearDuplicates(dataset, (one) => shot(one, dataset, refresh));
  return [standing(dataset), parts.labels || (dataset.labels.length ? labels(dataset) : null),
    full ? suspects(dataset, refresh) : null, parts.copies?.section,
    warned(dataset), unreadable(dataset), full ? starting(dataset) : null, ready ? adding() : null, parts.pictures];
}

function standing(dataset) {
  if (dataset.state === "LOADING") {
    const says = dataset.message || "Waiting to be loaded …";
    return el("div", { class: "card" }, moving(says, dataset.progress, "Progress of loading"));
  }
  if (dataset.state === "DELETING") return el("div", { class: "card" }, el("p", {}, "It is being deleted."));
  if (dataset.message) {
    const why = el("p", { class: "wrong" }, words(dataset.message));
    return el("div", { class: "card" }, el("h2", {}, "The last archive could not be loaded"), why);
  }
  const command = `inferq datasets add ${dataset.id} FOLDER`;
  return dataset.examples ? null : empty("No pictures yet. Add an archive of label folders:", command);
}

function labels(dataset) {
  const most = Math.max(1, ...dataset.labels.map((label) => label.examples));
  const lines = dataset.labels.map(({ name, examples }) => bar(name, examples / most, examples.toLocaleString("en")));
  const rest = lines.slice(LABELS);
  const more = rest.length ? fold(many(rest.length, "more label"), rest) : null;
  return group("Labels", "", el("div", { class: "card" }, lines.slice(0, LABELS), more));
}

function warned({ warnings, state: now }) {
  if (now !== "READY" || !warnings.length) return null;
  return group("Before a training", "", el("div", { class: "card" }, warnings.map((warning) => el("p", {}, warning))));
}

function unreadable(dataset) {
  const { duplicates, unreadable: count, reasons, contradicting, contradictions } = dataset;
  if (!duplicates && !count && !contradicting) return null;
  const clashes = contradictions.map(({ paths, example }) => el("li", {}, el("code", {}, paths.join(" = ")),
    el("span", {}, example ? "The picture that was there before stays." : dataset.problem_type === MULTI_LABEL
      ? "A picture with different labels teaches neither." : "A picture with two labels teaches neither.")));
  const twice = many(duplicates, "picture that exists already", "pictures that exist already");
  const lines = reasons.map(({ path: file, why }) => el("li", {}, el("code", {}, file), el("span", {}, why)));
  const rest = count > lines.length ? el("p", { class: "calm" }, `And ${count - lines.length} more.`) : null;
  return group("Unused files", "", el("div", { class: "card" },
    duplicates || count ? facts([["duplicates", duplicates ? twice : ""], ["unusable", count ? many(count, "file") : ""]]) : null,
    contradicting ? fold(`Under two labels: ${many(contradicting, "picture")}`, el("ul", { class: "reasons" }, clashes)) : null,
    lines.length ? fold("Files and reasons", el("ul", { class: "reasons" }, lines), rest) : null));
}

function adding() {
  const place = el("div", { class: "card create" }, archive(`${path}/archive`, () => new FormData(), load));
  return group("Add pictures", "A version that was trained on never changes: the pictures go into the next version.", place);
}

/** Return the pictures in pages, optionally of one label. */
function pictures(dataset) {
  const grid = el("div", { "aria-live": "off" });
  const options = dataset.labels.map(({ name, examples }) => el("option", { value: name }, `${name} (${examples})`));
  const choice = el("select", { "aria-label": "Label", onchange: () => turn([""]) },
    el("option", { value: "" }, "all labels"), options);
  const turn = (cursors) => {
    const query = new URLSearchParams({ limit: PAGE, cursor: cursors.at(-1), label: choice.value });
    fill(grid, () => get(`${path}/examples?${query}`), (page) => [
      el("div", { class: "shots" }, page.examples.map((example) => shot(example, dataset))), pager(cursors, page.next, turn),
      page.examples.length ? null : el("p", { class: "calm" }, "No pictures of this label."),
    ]);
  };
  turn([""]);
  return group("Pictures", "", offered(dataset), el("div", { class: "choose" }, choice), grid);
}

/** Return a picture with its labels, which can be changed; the others stay where they are. `after` runs after a change. */
function shot(example, dataset, after = recount) {
  const given = example.split ? ` · ${example.split}` : "";
  const corrected = example.source && example.source !== "upload" ? ` · ${example.source}` : "";
  const name = named(example);
  const done = async (changed) => {
    const next = changed ? shot(changed, dataset, after) : figure.nextElementSibling || figure.previousElementSibling;
    if (changed) figure.replaceWith(next);
    else figure.remove();
    next?.querySelector("summary").focus();
    await after();
  };
  const text = example.labels.map((label) => label.name).join(", ");
  const figure = thumb(example.links.picture, example.name, el("span", { title: name }, name, el("i", {}, given, corrected)));
  const change = fold("Change", editing(example, dataset, text, done));
  change.dataset.needs = "models";
  figure.append(change);
  return figure;
}

whenKeyed(load);
