// The right labels of a picture: the field for them, what it says as the API takes it, and how pages name them.
import { el } from "./page.js";

export const MULTI_LABEL = "multi_label_classification";

/** Return an option for a dataset that knows its problem type. */
export function datasetOption(value, name, problemType) {
  return el("option", { value, "data-problem-type": problemType }, name);
}

/** Return a field for the labels of a picture. It may be empty while a multi-label dataset is chosen. */
export function labelField(choice, attributes) {
  const field = el("input", { autocomplete: "off", spellcheck: "false", ...attributes });
  const fit = () => {
    field.required = !isMultiLabel(choice);
    field.placeholder = field.required ? "" : "between commas, or none";
  };
  choice.addEventListener("change", fit);
  fit();
  return field;
}

/** Return what a field says as the API takes it: one label, or for a multi-label dataset those between its commas. */
export function right(text, choice) {
  if (!isMultiLabel(choice)) return { label: text.trim() };
  return { labels: text.split(",").map((label) => label.trim()).filter(Boolean) };
}

/** Return the labels of an example in words. */
export function named(example) {
  return example.labels.map((label) => label.name).join(" | ") || "no label";
}

function isMultiLabel(choice) {
  return choice.selectedOptions[0]?.dataset.problemType === MULTI_LABEL;
}
