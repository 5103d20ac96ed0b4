// The form that gives an example of a dataset other labels, or deletes it.
import { call } from "./api.js";
import { datasetOption, labelField, right } from "./labels.js";
import { act, el, sure } from "./page.js";

const LABELS = "labels-of-dataset"; // the id of the list that the fields suggest labels from

/** Return the list of the dataset's labels, which a page with such forms has once. */
export function offered(dataset) {
  return el("datalist", { id: LABELS }, dataset.labels.map(({ name }) => el("option", { value: name })));
}

/**
 * Return the form of an example, with a text in its field. `done` gets the example with its new labels, or null if it
 * was deleted. `also` makes one more button, of the place where errors are shown.
 */
export function editing(example, dataset, text, done, also = () => null) {
  const choice = el("select", {}, datasetOption(dataset.id, dataset.name, dataset.problem_type));
  const says = el("div", { class: "says", "aria-live": "polite" });
  const field = labelField(choice, { value: text, list: LABELS, "aria-label": `Label of ${example.name}` });
  const submit = el("button", { type: "submit" }, "Relabel");
  const relabel = async () => done(await call("POST", `${example.links.self}/labels`, { json: right(field.value, choice) }));
  const remove = sure("Delete", "Delete this picture?", says, async () => {
    await call("DELETE", example.links.self);
    await done(null);
  });
  const send = (event) => { event.preventDefault(); act(submit, says, relabel); };
  return el("form", { "data-needs": "models", class: "editing", onsubmit: send },
    field, submit, el("div", { class: "decide" }, also(says), remove), says);
}
