// One model: its versions and which of them answers, the versions side by side, and what can be decided about it.
import { ROOT, get } from "./api.js";
import { choices, endCanary, makeDefault, removeModel, resetDefault, rollBack } from "./decisions.js";
import { drift, driftLine } from "./drift.js";
import { sideBySide } from "./beside.js";
import { $, button, el, fill, group, many, percent, state, track, whenKeyed } from "./page.js";
import { address, row } from "./versions.js";

const name = decodeURIComponent(location.pathname.split("/").pop());
const place = $("content");

function load() {
  return fill(place, fetched, show);
}

/** Return the model with its comparisons, its canary, its drift, and the default model of the caller. */
async function fetched() {
  const at = address(name);
  const [model, standard] = await Promise.all([get(at), get(`${ROOT}/v1/default-model`)]);
  const hasCanary = model.versions.some((version) => version.canary);
  const [{ comparisons }, canary, drifted] = model.shared ? [{ comparisons: [] }] : await Promise.all([
    get(`${at}/comparisons`), hasCanary ? get(`${at}/canary`) : null, drift(model),
  ]);
  return { ...model, comparisons, canary, drift: drifted, standard };
}

function show(model) {
  document.title = `${model.name} · inferq`;
  const serving = model.versions.find(({ version }) => version === model.default_version);
  $("hero").replaceChildren(el("h1", {}, model.name, " ", serving ? state(serving.state) : ""), el("p", {}, about(model)));
  return [versions(model), sideBySide(model), model.shared ? null : worthLabelling(), standing(model)];
}

function about(model) {
  const names = model.aliases.length ? `, also named ${model.aliases.join(", ")}` : "";
  const where = model.shared ? "A model of the catalogue" : many(model.versions.length, "version");
  return `${where}${names}. Version ${model.default_version} answers requests that name no version`
    + `${model.is_default ? ", and those that name no model" : ""}.`;
}

function versions(model) {
  const says = el("div", { class: "says", "aria-live": "polite" });
  const newest = [...model.versions].reverse();
  const open = (version) => !model.shared && version.state === "ready" && version.version !== model.default_version;
  return el("section", { class: "card model", "aria-label": "Versions" },
    el("ul", { class: "versions" }, newest.map((version) =>
      row(model, version, { actions: open(version) ? choices(model, version, says, load) : null }))),
    driftLine(model.drift), model.canary ? canaryLine(model) : null,
    model.rollback_to ? el("p", { class: "actions", "data-needs": "models" },
      button(`Roll back to version ${model.rollback_to}`, says, async () => rollBack(model, load))) : null,
    says);
}

function canaryLine(model) {
  const { version, share, compared, agreed, agreement } = model.canary;
  const counted = `it agreed with the default on ${agreed} of ${many(compared, "picture")}, ${percent(agreement)}`;
  const so = compared ? counted : "no picture has been compared so far";
  return el("div", { class: "canary" },
    el("p", {}, el("b", {}, `Version ${version}`), ` answers ${percent(share, 0)} of the requests that name no version; `,
      `${so}.`),
    compared ? track(agreement) : null,
    button("End the canary", el("div"), async () => endCanary(model, load)));
}

/** Return the way to the pictures from which the next version would learn most. */
function worthLabelling() {
  return group("Worth labelling", "", el("p", {}, "Pictures that it has seen and is unsure about teach the next version most: ",
    el("a", { href: `${location.pathname}/suggestions` }, "label them"), "."));
}

/** Return what can be decided about the model as a whole. */
function standing(model) {
  const says = el("div", { "aria-live": "polite" });
  const isChosen = model.is_default && model.standard.origin === "tenant";
  const gone = async () => location.assign(`${ROOT}/ui/models`);
  const actions = [
    model.is_default ? null : button("Let it answer requests that name no model", says, async () => makeDefault(model, model.standard, load)),
    isChosen ? button("No longer the default model", says, async () => resetDefault(model, load)) : null,
    model.shared ? null : button("Remove the model", says, async () => removeModel(model, gone)),
  ].filter(Boolean);
  if (!actions.length) return null;
  return el("section", { class: "group", "data-needs": "models" }, el("h2", {}, "The model"),
    el("p", {}, "Each says what answers afterwards, before it is done."), el("p", { class: "actions" }, actions), says);
}

whenKeyed(load);
