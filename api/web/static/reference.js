// The reference: all calls of /openapi.json, folded by wire and tag, with a search, and an address for each call.
import { ROOT } from "./api.js";
import { bodiesOf, callsOf, follow, inputsOf, keep, kindOf } from "./openapi.js";
import { $, copying, el, fold, many, words } from "./page.js";
import { Trial } from "./trial.js";

const PAGES = "Pages"; // the tag of the pages, which are not listed as calls
const SOON = 120; // milliseconds without a key press until the search begins
const entries = new Map(); // operationId -> Entry

function row(name, schema, where, required) {
  const about = [kindOf(schema), where];
  const found = follow(schema);
  if (found.enum) about.push(found.enum.join(" | "));
  if (found.default !== undefined) about.push(`default ${found.default}`);
  const first = el("td", {}, el("code", {}, name), required ? el("span", { class: "must" }, " required") : "",
    el("span", { class: "type" }, about.filter(Boolean).join(" · ")));
  return el("tr", {}, first, el("td", {}, words(found.description)));
}

function parameterTable(call) {
  const body = bodiesOf(call)[0];
  const rows = inputsOf(call, body).map((input) =>
    row(input.name, { ...input.schema, description: input.description || input.schema.description },
      input.in, input.required));
  const schema = body ? follow(body.schema) : {};
  for (const [name, property] of Object.entries(schema.properties || {})) {
    rows.push(row(name, property, "body", (schema.required || []).includes(name)));
  }
  if (!rows.length) return null;
  const types = bodiesOf(call).map((one) => one.type);
  const note = types.length > 1 ? el("p", {}, "The body may be ", types.join(", "), ".") : null;
  return fold(`Parameters (${rows.length})`, el("table", {}, el("tbody", {}, rows)), note);
}

function answerTable(call) {
  const rows = Object.entries(call.responses).map(([status, response]) => {
    const types = Object.keys(response.content || {}).join(", ");
    return el("tr", {}, el("td", {}, status === "default" ? "else" : status),
      el("td", {}, words(response.description), types ? el("span", { class: "type" }, types) : ""));
  });
  return fold("Answers", el("table", { class: "answers" }, el("tbody", {}, rows)));
}

// -- calls and their folds

/** A call in the list. What is inside is made when it is opened first: a hundred forms would slow the page down. */
class Entry {
  constructor({ path, method, call, others }) {
    Object.assign(this, { path, method, call, others, id: call.operationId, made: false });
    const inputs = bodiesOf(call).flatMap((body) => Object.entries(follow(body.schema).properties || {}))
      .concat((call.parameters || []).map((input) => [input.name, input]));
    const said = [method, path, ...others, call.summary, call.description, call.operationId, ...call.tags,
      ...inputs.flatMap(([name, { description }]) => [name, description || ""])];
    this.text = said.join(" ").toLowerCase();
    const summary = call.summary.endsWith(path) ? "" : call.summary;
    this.head = el("summary", {}, el("span", { class: `method ${method}` }, method.toUpperCase()), parted(path),
      el("span", { class: "summary" }, summary));
    this.fold = el("details", { class: "call", id: this.id }, this.head);
    this.head.addEventListener("click", () => { if (!this.fold.open) visit(this.id); });
    this.fold.addEventListener("toggle", () => { if (this.fold.open) this.make(); });
  }

  make() {
    if (this.made) return;
    this.made = true;
    const { call, others, path, method } = this;
    const trial = new Trial(path, method, call);
    document.addEventListener("inferq-key", () => trial.tell());
    const send = el("button", { type: "submit" }, "Send");
    const submit = (event) => { event.preventDefault(); trial.send(send); };
    const tryOut = fold("Try it", el("form", { onsubmit: submit }, trial.grid, send), trial.answer);
    tryOut.classList.add("try");
    this.fold.append(el("div", { class: "inside" },
      call.description && call.description !== `${call.summary}.` ? el("p", {}, words(call.description)) : null,
      others.length ? el("p", { class: "others" }, "Also at ", others.flatMap((one, index) => [index ? ", " : "", el("code", {}, one)])) : null,
      el("div", { class: "curl" }, trial.curl, copying(trial.curl)),
      el("div", { class: "folds" }, tryOut, parameterTable(call), answerTable(call))));
  }
}

/** Return a path with its variable parts set apart, which may break after each slash. */
function parted(path) {
  const parts = path.split(/(\{\w+\}|(?<=.)\/)/).map((part) => (part.startsWith("{") ? el("i", {}, part) : part === "/" ? [el("wbr"), "/"] : part));
  return el("span", { class: "path" }, parts.flat());
}

function tagFold(spec, { name, description }) {
  const found = callsOf(spec, name).map((call) => new Entry(call));
  for (const entry of found) entries.set(entry.id, entry);
  return el("details", { class: "tag" },
    el("summary", {}, el("b", {}, name), el("span", { class: "about" }, words(description)), el("small", {}, many(found.length, "call"))),
    found.map((entry) => entry.fold));
}

/** Return [heading, tags] of the sections: the wires with a single tag share one. */
function sections(wires) {
  const single = wires.filter(({ tags }) => tags.length === 1).flatMap(({ tags }) => tags);
  const several = wires.filter(({ tags }) => tags.length > 1).map(({ name, tags }) => [name, tags]);
  return [...several.slice(0, 1), ["Wires of other services", single], ...several.slice(1)];
}

function build(spec) {
  keep(spec);
  $("about").append(...words(spec.info.description));
  const tags = new Map(spec.tags.filter(({ name }) => name !== PAGES).map((tag) => [tag.name, tag]));
  for (const [name, tagged] of sections(spec["x-tagGroups"])) {
    const folds = tagged.filter((each) => tags.has(each)).map((each) => tagFold(spec, tags.get(each)));
    $("groups").append(el("section", { class: "wire" }, el("h2", {}, name), el("div", { class: "card rows" }, folds)));
  }
  if ($("search").value) search();
  goTo();
}

// -- addresses

/** Give the page the address of a call, as a step back in the history. */
function visit(id) {
  if (location.hash !== `#${id}`) history.pushState(null, "", `${location.pathname}${location.search}#${id}`);
}

/** Open the call that the address names, and close all others. */
function goTo() {
  if (location.hash === "#top") return; // the link that skips to the content
  const wanted = entries.get(decodeURIComponent(location.hash.slice(1)));
  for (const entry of entries.values()) entry.fold.open = entry === wanted;
  if (!wanted) return;
  if (wanted.fold.hidden) {
    $("search").value = "";
    search();
  }
  wanted.fold.closest(".tag").open = true;
  wanted.make();
  wanted.fold.scrollIntoView();
  wanted.head.focus({ preventScroll: true });
}

// -- the search

let timer = 0;

/** Show the calls that have all words of the search, wherever they stand. */
function search() {
  const wanted = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  history.replaceState(null, "", `${location.pathname}${wanted.length ? `?q=${encodeURIComponent($("search").value)}` : ""}${location.hash}`);
  let shown = 0;
  for (const entry of entries.values()) {
    entry.fold.hidden = !wanted.every((word) => entry.text.includes(word));
    shown += entry.fold.hidden ? 0 : 1;
  }
  for (const place of document.querySelectorAll(".tag, .wire")) {
    place.hidden = !place.querySelector(".call:not([hidden])");
    if (!place.matches(".tag")) continue;
    place.open = wanted.length ? !place.hidden : Boolean(place.querySelector(".call[open]"));
    place.querySelector("small").textContent = many(place.querySelectorAll(".call:not([hidden])").length, "call");
  }
  $("found").textContent = wanted.length ? (shown ? many(shown, "call") : "No call has all of these words.") : "";
}

$("search").value = new URLSearchParams(location.search).get("q") || "";
$("search").addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(search, SOON); });
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.target.closest("input, textarea, select")) {
    event.preventDefault();
    $("search").focus();
  }
});
addEventListener("popstate", goTo); // also when a link within the page is followed
fetch(`${ROOT}/openapi.json`).then((response) => response.json()).then(build)
  .catch((error) => $("groups").append(el("p", { class: "wrong", role: "alert" }, `The calls cannot be listed: ${error.message}`)));
