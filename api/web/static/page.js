// Shared functions of the pages: elements, numbers, states of a page, the key field and the menu.
// Texts are inserted as text, never as markup: names of files, labels and models are untrusted.
import { Problem, ROOT, get, keep, key } from "./api.js";

const STEPS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
const TITLES = {
  403: "This key lacks the permission", 404: "Not found", 429: "Too many requests", 503: "Not at this moment",
};
const SCOPES = ["infer", "models", "keys"];
const FEW = 30; // test pictures below which a single picture changes the accuracy by percentage points
const SURE = 4000; // milliseconds in which a second click counts
const SAID = 1500; // milliseconds for which a button says what it did

export const $ = (id) => document.getElementById(id);

/** Return an element: attributes, `on...` listeners, and children, which are elements or texts. */
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** Return an SVG element, with the same arguments. */
export function draw(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(2).filter((child) => child != null && child !== "" && child !== false));
  return made;
}

/** Return the parts of a text in which `backticks` mark code. */
export function words(text) {
  return (text || "").split("`").map((part, index) => (index % 2 ? el("code", {}, part) : part));
}

// -- numbers and times

export function percent(share, digits = 1) {
  return share == null ? "–" : `${(share * 100).toFixed(digits)} %`;
}

export function many(count, one, several = `${one}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : several}`;
}

/** Return a warning about few test pictures; null if there are enough. */
export function few(tested) {
  if (tested < 1 || tested >= FEW) return null;
  const pictures = tested === 1 ? "1 picture: it" : `${tested} pictures: each of them`;
  return el("p", { class: "calm" }, `Tested on ${pictures} is worth ${(100 / tested).toFixed(1)} points.`);
}

/** Return the time since then, with the exact time as its title. */
export function ago(iso) {
  return iso ? distance(iso, (Date.now() - new Date(iso)) / 1000, (count) => -Math.floor(count)) : "";
}

/** Return the time until then. It is rounded, so that "in 30 days" does not become "in 29 days" a moment later. */
export function ahead(iso) {
  return distance(iso, (new Date(iso) - Date.now()) / 1000, Math.round);
}

function distance(iso, seconds, whole) {
  const [unit, size] = STEPS.find(([, size]) => seconds >= size) || ["second", 1];
  const words = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  const said = words.format(whole(Math.max(0, seconds) / size), unit);
  return el("time", { datetime: iso, title: new Date(iso).toLocaleString() }, said);
}

export function lasting(seconds) {
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Return a number of bytes in the largest unit of which there is one, as errors of the service name it. */
export function bytes(count) {
  const power = Math.min(4, Math.floor(Math.log2(Math.max(1, count)) / 10));
  return power ? `${Math.floor(count / 2 ** (10 * power) * 10) / 10} ${"KMGT"[power - 1]}iB` : many(count, "byte");
}

// -- lists with filters

/** A filter of a list, whose `choices` are [value, words]; `choose` is called with what the reader has changed. */
export function filter(name, label, choices, choose) {
  return el("label", {}, label, el("select", { name, onchange: (event) => choose({ [name]: event.target.value }) },
    choices.map(([value, words]) => el("option", { value }, words))));
}

/** Put filters and place into the address, so that it can be shared, and the browser's back leads back. */
export function remember(asked, cursors) {
  const query = new URLSearchParams(Object.entries({ ...asked, cursor: cursors.at(-1) }).filter(([, value]) => value));
  history.pushState({ cursors }, "", `${location.pathname}${query.size ? `?${query}` : ""}`);
}

// -- parts of pages

/** A thin bar that is full at 1. */
export function track(share) {
  const fill = el("i");
  fill.style.width = `${Math.max(0, Math.min(1, share)) * 100}%`;
  return el("span", { class: "track" }, fill);
}

/** A line with a label, a bar and what it comes to. */
export function bar(label, share, shown) {
  return el("div", { class: "bar" }, el("span", { class: "label", title: label }, label), track(share),
    el("span", { class: "score" }, shown));
}

/** Return a progress bar that screen readers read. */
export function progress(share, what) {
  const made = track(share);
  made.classList.add("progress");
  filled(made, { role: "progressbar", "aria-label": what, "aria-valuemin": 0, "aria-valuemax": 100,
    "aria-valuenow": Math.round(share * 100) }, []);
  return made;
}

/** Return the current step and its progress; without a bar value if `share` is null. */
export function moving(says, share, what) {
  return [
    el("p", { class: "headline" }, el("span", {}, says), el("b", {}, share == null ? "" : percent(share, 0))),
    progress(share || 0, what),
  ];
}

/** Return buttons that turn pages: `cursors` lead to the pages up to this one; `turn` gets those up to the next. */
export function pager(cursors, next, turn) {
  if (cursors.length === 1 && !next) return null;
  const leaf = (label, to) =>
    el("button", { class: "quiet", type: "button", disabled: !to, onclick: () => turn(to) }, label);
  return el("p", { class: "pager" }, leaf("Previous", cursors.length > 1 && cursors.slice(0, -1)),
    el("span", {}, `page ${cursors.length}`), leaf("Next", next && [...cursors, next]));
}

/** The head of a table. */
export function heads(...names) {
  return el("thead", {}, el("tr", {}, names.map((name) => el("th", {}, name))));
}

/** The state of something, as a word with a dot in the colour of its kind. */
export function state(word) {
  return el("span", { class: `state ${word.toLowerCase()}` }, word.toLowerCase());
}

/** Return a list of names and values, without empty values. */
export function facts(rows) {
  const told = rows.filter(([, value]) => value != null && value !== "");
  return el("dl", { class: "facts" }, told.map(([word, value]) => [el("dt", {}, word), el("dd", {}, value)]));
}

export function stat(value, word, more) {
  return el("div", { class: "stat" }, el("b", {}, value), el("span", {}, word), more ? el("small", {}, more) : null);
}

/** A section with a heading of its own. */
export function group(title, about, ...inside) {
  return el("section", { class: "group" }, el("h2", {}, title), about ? el("p", {}, about) : null, inside);
}

export function fold(title, ...inside) {
  return el("details", { class: "fold" }, el("summary", {}, title), inside);
}

/** Return a text as it is, which scrolls where it is wider than its place, also by the keyboard. */
export function verbatim(label, text = "") {
  return el("pre", { tabindex: 0, "aria-label": label }, text);
}

/** Return the card of an empty page: a sentence, and the command that fills it. */
export function empty(text, command) {
  return el("div", { class: "card empty" }, el("p", {}, text), verbatim("Command", command));
}

/** Return a button that runs `work`; an error is shown in `says`. */
export function button(label, says, work, kind = "quiet") {
  const made = el("button", { type: "button", class: kind || false }, label);
  made.addEventListener("click", () => act(made, says, work));
  return made;
}

/** Return a button that copies the text of an element. */
export function copying(source) {
  const made = el("button", { class: "quiet copy", type: "button" }, "Copy");
  made.addEventListener("click", async () => {
    await copied(source);
    made.textContent = "Copied";
    setTimeout(() => { made.textContent = "Copy"; }, SAID);
  });
  return made;
}

/** Browsers offer the clipboard to pages by HTTPS and on this machine only; elsewhere the text is selected to be copied. */
async function copied(source) {
  if (navigator.clipboard) return navigator.clipboard.writeText(source.textContent);
  getSelection().selectAllChildren(source);
  return document.execCommand("copy");
}

/** Return a button that requires a second click, as its action cannot easily be undone. */
export function sure(label, question, says, work) {
  let armed = 0;
  const disarm = () => { armed = 0; made.textContent = label; made.classList.remove("armed"); };
  const made = button(label, says, async () => {
    if (armed) {
      clearTimeout(armed);
      disarm();
      await work();
      return;
    }
    made.textContent = question;
    made.classList.add("armed");
    armed = setTimeout(disarm, SURE);
  });
  made.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !armed) return;
    event.preventDefault(); // a dialog around it stays open
    clearTimeout(armed);
    disarm();
  });
  return made;
}

/** Run `work` with the button disabled. */
export async function act(made, says, work) {
  made.disabled = true;
  says.replaceChildren();
  try {
    await work();
  } catch (error) {
    says.replaceChildren(el("p", { class: "wrong", role: "alert" }, words(error.message)));
  } finally {
    made.disabled = false;
  }
}

/** Let a label with a file input also accept dropped files. */
export function dropping(area, take) {
  const input = area.querySelector("input");
  const given = (files) => { if (files.length) take([...files]); };
  input.addEventListener("change", () => { given(input.files); input.value = ""; });
  for (const kind of ["dragenter", "dragover"]) {
    area.addEventListener(kind, (event) => { event.preventDefault(); area.classList.add("over"); });
  }
  for (const kind of ["dragleave", "drop"]) area.addEventListener(kind, () => area.classList.remove("over"));
  area.addEventListener("drop", (event) => { event.preventDefault(); given(event.dataTransfer.files); });
}

// -- states of a page

const turns = new WeakMap();

/** Fill a place with `write(await load())`; shows a text while waiting, and an error with a button for `again`. */
export async function fill(place, load, write, again = () => fill(place, load, write)) {
  const turn = (turns.get(place) || 0) + 1;
  const latest = () => turns.get(place) === turn;
  turns.set(place, turn);
  if (!place.childElementCount) place.replaceChildren(el("p", { class: "calm" }, "Loading …"));
  try {
    const found = await load();
    if (latest()) place.replaceChildren(...[write(found)].flat(2).filter(Boolean));
  } catch (error) {
    if (error.name !== "AbortError" && latest()) place.replaceChildren(trouble(error, again));
  }
}

/** Return the card of an error: the reason, and what to do. */
export function trouble(error, again) {
  if (!(error instanceof Problem)) console.error(error);
  if (error.status === 401) {
    const ask = el("button", { type: "button", onclick: focusKey }, key() ? "Enter another key" : "Enter the key");
    const invalid = error.code === "key_expired" ? "This key has expired" : "This key is not valid";
    const title = key() ? invalid : "An API key is needed";
    return el("div", { class: "card empty", role: "alert" }, el("h2", {}, title), el("p", {}, error.message), ask);
  }
  const title = TITLES[error.status] || "Cannot be loaded";
  const retry = el("button", { type: "button", class: "quiet", onclick: again }, "Try again");
  const why = el("p", { class: "wrong" }, words(error.message));
  return el("div", { class: "card empty", role: "alert" }, el("h2", {}, title), why, retry);
}

/** Load now, and again when another key is entered. */
export function whenKeyed(load) {
  let timer = 0;
  document.addEventListener("inferq-key", () => { clearTimeout(timer); timer = setTimeout(load, 400); });
  load();
}

function focusKey() {
  open(true);
  $("key").focus();
}

function open(is) {
  document.querySelector(".side").classList.toggle("open", is);
  document.querySelector(".menu").setAttribute("aria-expanded", String(is));
}

/**
 * Note on the page which scopes the key lacks. By that base.css hides what has the needed scope in `data-needs`, and
 * shows what has a lacking one in `data-without`.
 */
async function noteScopes() {
  const { scopes } = await get(`${ROOT}/v1/keys/current`).catch(() => ({ scopes: SCOPES })); // the page itself says why
  document.documentElement.dataset.lacks = SCOPES.filter((scope) => !scopes.includes(scope)).join(" ");
}

function listen() {
  const field = $("key");
  field.value = key();
  field.addEventListener("input", () => { keep(field.value); document.dispatchEvent(new Event("inferq-key")); });
  field.addEventListener("keydown", (event) => { if (event.key === "Enter") open(false); });
  const side = document.querySelector(".side");
  document.querySelector(".menu").addEventListener("click", () => open(!side.classList.contains("open")));
  side.addEventListener("click", (event) => { if (event.target.closest("nav a")) open(false); });
  whenKeyed(noteScopes);
}

listen();
