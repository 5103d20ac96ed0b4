// One version of a model: its state, evidence, engine, preprocessing and labels, its export, and what can be decided.
import { ROOT, call, get, pause } from "./api.js";
import { choices, removeVersion } from "./decisions.js";
import { engine, rate } from "./engine.js";
import { exporting } from "./export.js";
import { $, ago, button, bytes, el, few, fill, group, many, percent, stat, state, whenKeyed, words } from "./page.js";
import { prepared } from "./preparation.js";
import { address, believed, labelled, modelPage, origin, versionAddress } from "./versions.js";

const AGAIN = 1500; // milliseconds between two looks at a version that is being checked
const SEARCHED = 20; // labels from which on they can be searched
const MOST = 60; // labels that are shown at once
const [name, version] = [-3, -1].map((at) => decodeURIComponent(location.pathname.split("/").at(at)));
const place = $("content");
let round = 0;

async function load() {
  const mine = ++round;
  for (let live = true; live && mine === round;) {
    live = false;
    await fill(place, fetched, ([model, found]) => {
      live = found.state === "checking";
      return show(model, found);
    }, load);
    if (live) await pause(AGAIN);
  }
}

async function fetched() {
  const [model, found, { comparisons }] = await Promise.all([
    get(address(name)), get(versionAddress({ name, version })), get(`${address(name)}/comparisons`),
  ]);
  return [{ ...model, comparisons }, found];
}

function show(model, found) {
  document.title = `${name} ${version} · inferq`;
  const isDefault = version === model.default_version;
  const made = [origin(model, found), found.architecture, labelled(found)].filter(Boolean).join(", ");
  $("hero").replaceChildren(el("h1", {}, `${name} ${version} `, state(found.state)),
    el("p", {}, "A version of ", el("a", { href: modelPage(name) }, name), `: ${made}, `, ago(found.created_at), ". ",
      isDefault ? "It answers requests that name no version." : found.canary ? `As the canary it answers ${percent(found.canary, 0)} `
        + "of the requests that name no version." : "It answers requests that name it."));
  if (found.state !== "ready") return [standing(model, found), deciding(model, found)];
  return [
    deciding(model, found), evidence(found), group("Engine", "What runs it, and what was measured of the others.",
      el("div", { class: "card" }, engine(found))),
    group("Preprocessing", "How pictures are prepared before they reach the network.", el("div", { class: "card" }, prepared(found))),
    labels(found.label_names),
    found.rejection ? group("What it does not know", "", el("div", { class: "card" }, el("p", {}, believed(found.rejection)))) : null,
    group("Export", "", el("div", { class: "card" }, exporting(found))),
  ];
}

/** Return why a version does not answer, and what to do. */
function standing(model, { state: now, reason }) {
  if (now === "checking") {
    return el("div", { class: "card" }, el("h2", {}, "A worker checks it"),
      el("p", { class: "calm" }, words(reason || "It loads the weights, and reproduces an example.")));
  }
  const refused = now === "refused";
  const says = el("div", { "aria-live": "polite" });
  const fetching = button("Fetch the weights", says, async () => {
    await call("POST", `${ROOT}/v1/models`, { json: { name } });
    await load();
  }, "");
  return el("div", { class: "card" }, el("h2", {}, refused ? "It was refused" : "Its weights are not here"),
    el("p", { class: reason ? "wrong" : "calm" }, words(reason || "They are fetched when the model is added.")),
    refused ? el("p", { class: "calm" }, "Remove it, and ", el("a", { href: `${ROOT}/ui/models#import` }, "import it"),
      " with what was missing.") : null,
    model.shared && !refused ? el("p", { class: "actions", "data-needs": "models" }, fetching) : null, says);
}

function evidence(found) {
  const { evidence: measured, training } = found;
  const speed = rate(found);
  const own = measured ? [
    measured.mean_average_precision == null ? null : stat(percent(measured.mean_average_precision), "mAP",
      between(measured.mean_average_precision_interval)),
    stat(percent(measured.accuracy), measured.mean_average_precision == null ? "accuracy" : "all labels right", between(measured.accuracy_interval)),
    stat(percent(measured.ece_after), "calibration error", "scores against the share of right answers"),
  ] : [];
  const stats = [...own, speed ? stat(speed.toLocaleString("en"), "pictures/s", "of the network alone") : null,
    found.bytes ? stat(bytes(found.bytes), "weights", found.family === "onnx" ? "a network in ONNX" : found.architecture) : null];
  return group("Evidence", "", el("div", { class: "card" }, el("div", { class: "stats" }, stats),
    measured?.examples ? few(measured.examples.test) : null,
    training ? el("p", {}, el("a", { href: `${ROOT}/ui/trainings/${training}` }, "The whole evidence of its training"),
      measured?.examples ? `, on ${many(measured.examples.test, "test picture")}.` : ".")
      : el("p", { class: "calm" }, "It was not trained here, so nothing was measured of its answers; a comparison with another "
        + "version does that.")));
}

function between(bounds) {
  return bounds ? `probably between ${percent(bounds[0])} and ${percent(bounds[1])}` : "";
}

/** Return the labels in the order of the logits; many can be searched. */
function labels(names) {
  const list = el("ol", { class: "label-names" });
  const says = el("p", { class: "calm", role: "status" });
  const field = el("input", { type: "search", "aria-label": "Search the labels", placeholder: "Search the labels", autocomplete: "off",
    spellcheck: "false", oninput: () => find(field.value.trim().toLowerCase()) });
  const find = (text) => {
    const found = names.map((label, index) => [label, index]).filter(([label]) => label.toLowerCase().includes(text));
    list.replaceChildren(...found.slice(0, MOST).map(([label, index]) => el("li", { value: index }, label)));
    const rest = found.length > MOST ? `, the first ${MOST} are shown` : "";
    says.textContent = text ? `${found.length.toLocaleString("en")} of ${many(names.length, "label")}${rest}.`
      : `In the order of the logits, from 0${rest}.`;
  };
  find("");
  return group("Labels", many(names.length, "label"), el("div", { class: "card" },
    names.length >= SEARCHED ? field : null, says, list));
}

/** Return what can be decided about a version. */
function deciding(model, found) {
  const says = el("div", { class: "says", "aria-live": "polite" });
  if (model.shared) return null;
  const own = model.versions.find((one) => one.version === version);
  const open = found.state === "ready" && version !== model.default_version;
  const gone = async () => location.assign(model.versions.length > 1 ? modelPage(name) : `${ROOT}/ui/models`);
  return el("div", { class: "deciding", "data-needs": "models" }, el("p", { class: "actions" },
    open ? choices(model, own, says, load) : null, button("Remove", says, async () => removeVersion(model, own, gone))), says);
}

whenKeyed(load);
