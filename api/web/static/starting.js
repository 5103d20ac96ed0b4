// The form that starts a training on a dataset.
import { ROOT, call, get } from "./api.js";
import { act, el, fold, group } from "./page.js";

const NAME = "[A-Za-z0-9][A-Za-z0-9._\\-]{0,99}"; // of models
const NUMBERS = [ // name, label, default, smallest, largest, step
  ["epochs", "Most epochs", 100, 1, 10000, 1],
  ["learning_rate", "Learning rate", 0.001, 0.000001, 0.999999, "any"],
  ["batch_size", "Pictures per step", 32, 1, 1024, 1],
  ["max_unimproved_epochs", "Epochs without improvement", 10, 1, 10000, 1],
  ["train_split_ratio", "Share for training", 0.8, 0.1, 0.95, "any"],
  ["seed", "Seed", 0, 0, 2147483647, 1],
];
const BASES = [["", "the best ready model"], ["scratch", "from scratch"]];
const FINE_TUNING = [["", "tried if it may help"], ["always", "always tried, kept if it is better"], ["never", "never"]];
const SWITCHES = [
  ["flip", "Also train on mirrored pictures (not for digits and letters)"],
  ["with_feedback", "Also train on corrections of wrong predictions"],
];

export function starting(dataset) {
  const proposed = dataset.name.replace(/[^A-Za-z0-9._-]+/g, "-").replace(/^[^A-Za-z0-9]+/, "").slice(0, 100);
  const name = el("input", {
    type: "text", name: "name", value: proposed, required: true, pattern: NAME, autocomplete: "off",
    spellcheck: "false", title: "letters, figures, dots, dashes and underscores",
  });
  const base = el("select", { name: "base" }, BASES.map(option));
  offer(base);
  const says = el("div", { "aria-live": "polite" });
  const start = el("button", { type: "submit" }, "Start the training");
  const submit = (event) => { event.preventDefault(); act(start, says, () => begin(dataset, form)); };
  const form = el("form", { onsubmit: submit },
    el("div", { class: "fields" }, field("Name of the model", name), field("Start from", base),
      field("Also train the last stages", el("select", { name: "fine_tune" }, FINE_TUNING.map(option)))),
    fold("More", el("div", { class: "fields" }, NUMBERS.map(number)), SWITCHES.map(tick)),
    el("p", { class: "actions" }, start), says);
  return group("Train a model", "An existing model gets another version.", el("div", { class: "card" }, form));
}

function option([value, words]) {
  return el("option", { value }, words);
}

function field(words, input) {
  return el("label", {}, words, input);
}

function number([name, words, usual, min, max, step]) {
  return field(words, el("input", { type: "number", name, min, max, step, placeholder: usual }));
}

function tick([name, words]) {
  return el("label", { class: "tick-off" }, el("input", { type: "checkbox", name, checked: true }), words);
}

/** Add the ready models to the choice of the base. */
async function offer(base) {
  const { models } = await get(`${ROOT}/v1/models`).catch(() => ({ models: [] }));
  const ready = models.filter((model) => model.versions.some((version) => version.state === "ready"));
  base.append(...ready.map((model) => el("option", { value: model.name }, model.name)));
}

async function begin(dataset, form) {
  const given = form.elements;
  const parameters = {};
  for (const [name] of NUMBERS) if (given[name].value !== "") parameters[name] = given[name].valueAsNumber;
  for (const [name] of SWITCHES) if (!given[name].checked) parameters[name] = false;
  if (given.fine_tune.value) parameters.fine_tune = given.fine_tune.value;
  const json = { dataset: String(dataset.id), name: given.name.value, base: given.base.value, parameters };
  const training = await call("POST", `${ROOT}/v1/trainings`, { json });
  location.assign(`${ROOT}/ui/trainings/${training.id}`);
}
