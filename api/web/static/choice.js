// The choice of model, version and options on the front page. The address of the page holds it, so it can be shared.
import { ROOT, call, get, pause } from "./api.js";
import { act, el, words } from "./page.js";

const AGAIN = 2000; // milliseconds between two looks at a version that is being checked
const LABELS = 5; // by default

/** The chosen model, version, number of labels and explanation; `changed` is called after each change. */
export class Choice {
  constructor(place, changed) {
    const query = new URLSearchParams(location.search);
    this.wanted = { model: query.get("model") || "", version: query.get("version") || "" };
    this.models = [];
    this.changed = changed;
    const pick = (name) => (event) => this.pick({ [name]: event.target.value });
    this.model = el("select", { onchange: (event) => this.pick({ model: event.target.value, version: "" }) });
    this.version = el("select", { onchange: pick("version") });
    this.versions = el("label", { hidden: true }, "Version", this.version);
    const labels = Number(query.get("top_k")) || LABELS;
    this.labels = el("input", { type: "number", min: 1, max: 1000, value: labels, onchange: () => this.pick({}) });
    this.explain = el("input", { type: "checkbox", checked: query.has("explain"), onchange: () => this.pick({}) });
    this.note = el("div", { class: "note", "aria-live": "polite" });
    place.append(el("div", { class: "options" }, el("label", {}, "Model", this.model), this.versions,
      el("label", { class: "few" }, "Labels", this.labels),
      el("label", { class: "tick-off" }, this.explain, "Show the evidence")), this.note);
  }

  /** Fetch the models and show them. Throws Problem. */
  async load() {
    const [{ models }, standard] = await Promise.all([get(`${ROOT}/v1/models`), get(`${ROOT}/v1/default-model`)]);
    this.models = models;
    this.standard = standard.model;
    this.show();
  }

  /** Return the options that differ from the defaults, as [name, value]. */
  options() {
    const { model, version } = this.wanted;
    const labels = this.labels.valueAsNumber;
    return [["model", model], ["version", version], ["top_k", labels !== LABELS && labels >= 1 && labels],
      ["explain", this.explain.checked]].filter(([, value]) => value);
  }

  pick(changes) {
    Object.assign(this.wanted, changes);
    const query = new URLSearchParams(this.options().map(([name, value]) => [name, value === true ? "1" : value]));
    history.replaceState(null, "", location.pathname + (query.size ? `?${query}` : ""));
    this.show();
    this.changed();
  }

  show() {
    const { model, version } = this.wanted;
    const listed = (shared) => this.models.filter((one) => one.shared === shared).map((one) => this.option(one));
    const [own, shared] = [listed(false), listed(true)];
    const groups = [own.length && el("optgroup", { label: "Your models" }, own),
      shared.length && el("optgroup", { label: "Catalogue" }, shared)].filter(Boolean);
    const unknown = model && !this.found() ? el("option", { value: model }, `${model} (unknown)`) : null;
    this.model.replaceChildren(el("option", { value: "" }, `the default (${this.standard || "none"})`), unknown || "", ...groups);
    this.model.value = model;
    const versions = this.found() ? this.found().versions : [];
    this.versions.hidden = versions.length < 2 && !version;
    this.version.replaceChildren(el("option", { value: "" }, `the default (${this.found() ? this.found().default_version : "–"})`),
      ...[...versions].reverse().map((one) => el("option", { value: one.version }, titled(one.version, one))));
    if (version && !versions.some((one) => one.version === version)) {
      this.version.append(el("option", { value: version }, `${version} (unknown)`));
    }
    this.version.value = version;
    this.note.replaceChildren(...this.standing());
  }

  /** Return the chosen model, by the name of the default model if none is chosen. */
  found() {
    const name = this.wanted.model || this.standard;
    return this.models.find((model) => model.name === name || model.aliases.includes(name));
  }

  option(model) {
    return el("option", { value: model.name }, titled(model.name, answering(model)));
  }

  /** Return what keeps the chosen version from answering, and what to do; nothing if it is ready. */
  standing() {
    const model = this.found();
    if (!model) {
      const text = this.wanted.model ? `There is no model ${this.wanted.model}.` : "No model is ready.";
      return [el("p", { class: "wrong" }, text, " Another can be fetched: ", el("code", {}, "inferq models add mobilenet_v2"))];
    }
    const { version } = this.wanted;
    const chosen = version ? model.versions.find((one) => one.version === version) : answering(model);
    if (!chosen) return [el("p", { class: "wrong" }, `${model.name} has no version ${version}.`)];
    if (chosen.state === "ready") return [];
    if (chosen.state === "checking") {
      this.watch();
      return [el("p", { class: "calm" }, `${model.name} is being checked by a worker. `, words(chosen.reason))];
    }
    const why = el("p", { class: chosen.state === "refused" ? "wrong" : "calm" },
      chosen.state === "refused" ? `${model.name} ${chosen.version} was refused: ` : `The weights of ${model.name} are not here yet. `,
      words(chosen.reason));
    return [why, chosen.state === "absent" ? this.fetching(model) : null].filter(Boolean);
  }

  fetching(model) {
    const says = el("div");
    const start = el("button", { type: "button", class: "quiet" }, "Fetch them");
    start.addEventListener("click", () => act(start, says, async () => {
      await call("POST", `${ROOT}/v1/models`, { json: { name: model.name } });
      await this.load();
    }));
    return el("p", { "data-needs": "models" }, start, " or ", el("code", {}, `inferq models add ${model.name}`), says);
  }

  /** Look again while the chosen version is being checked. */
  async watch() {
    if (this.watching) return;
    this.watching = true;
    await pause(AGAIN);
    this.watching = false;
    await this.load().catch(() => this.watch());
  }
}

function answering(model) {
  return model.versions.find((one) => one.version === model.default_version) || model.versions.at(-1);
}

function titled(name, version) {
  const state = { absent: "not fetched", checking: "being checked", refused: "refused" }[version ? version.state : "absent"];
  return state ? `${name} (${state})` : name;
}
