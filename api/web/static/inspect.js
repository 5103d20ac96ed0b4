// One picture of a job, large, in a dialog: its labels, where the evidence lies, its error, and the correction of its label.
import { ROOT, call, get } from "./api.js";
import { datasetOption, labelField, named, right } from "./labels.js";
import { act, bar, el, many, verbatim } from "./page.js";
import { answer, heatMap } from "./prediction.js";
import { fetched } from "./thumbs.js";

const dialog = el("dialog", { class: "inspect", "aria-labelledby": "inspect-title" });
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); }); // beside it
dialog.addEventListener("close", () => dialog.replaceChildren());

/** Show a picture of a job, and what came of it. */
export function inspect(job, outcome) {
  if (!dialog.isConnected) document.body.append(dialog);
  const close = el("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Close");
  const { explanation, results, similar, featureVectors } = outcome;
  dialog.replaceChildren(
    el("div", { class: "bar-head" }, el("h2", { id: "inspect-title" }, outcome.name || `Picture ${outcome.position}`), close),
    el("div", { class: "sides" }, el("div", {}, large(`${job.links.pictures}/${outcome.position}`), explanation ? heatMap(explanation) : null),
      el("div", {}, similar ? found(similar) : featureVectors ? features(featureVectors) : answer(outcome),
        results && job.terminal ? correction(job, outcome) : null)));
  dialog.showModal();
}

/** Return the picture as it was sent, or as a JPEG of the service if the browser cannot display its format. */
function large(path) {
  const place = el("figure", { class: "large" });
  const cannot = (why) => place.replaceChildren(el("p", { class: "calm" }, why));
  const show = async (from, otherwise) => {
    const src = await fetched(from);
    if (!src) { // 204
      otherwise();
      return;
    }
    const image = el("img", { src, alt: "The picture that was sent", onload: () => URL.revokeObjectURL(src) });
    image.addEventListener("error", otherwise);
    place.replaceChildren(image);
  };
  const refused = (problem) => cannot(problem.status === 404 ? "The picture is not kept any more." : problem.message);
  const neither = () => cannot("This browser cannot display it, and the service has made no smaller one: it is damaged, or too large for that.");
  show(path, () => show(`${path}/thumbnail?side=1280`, neither).catch(refused))
    .catch(refused);
  return place;
}

function found({ hits, searched, of }) {
  const about = `${searched.toLocaleString("en")} of ${many(of, "picture")} were compared.`;
  return [hits.map((hit) => bar(hit.label || hit.name, hit.similarity, hit.similarity.toFixed(3))), el("p", { class: "calm" }, about)];
}

function features(vector) {
  const first = vector.slice(0, 8).map((value) => value.toFixed(3)).join(", ");
  return [el("p", {}, `${many(vector.length, "feature")}: `), verbatim("Features", `${first}, …`)];
}

/** Return the form that corrects the label: the picture becomes an example for the next training. */
function correction(job, outcome) {
  const dataset = el("select", { name: "dataset" });
  const label = labelField(dataset, { name: "label", list: "known-labels" });
  const known = el("datalist", { id: "known-labels" });
  const says = el("div", { "aria-live": "polite" });
  const send = el("button", { type: "submit", disabled: true }, "Correct the label");
  const submit = (event) => {
    event.preventDefault();
    act(send, says, async () => {
      const json = { ...right(label.value, dataset), position: outcome.position, ...(dataset.value ? { dataset: dataset.value } : {}) };
      const example = await call("POST", `${ROOT}/v1/jobs/${job._id}/feedback`, { json });
      const { dataset: id } = /\/datasets\/(?<dataset>\d+)\//.exec(example.links.self).groups;
      says.replaceChildren(el("p", { class: "calm" }, `It is now an example of ${named(example)} in `,
        el("a", { href: `${ROOT}/ui/datasets/${id}` }, "the dataset"), "; the next training learns from it."));
    });
  };
  const form = el("form", { class: "correct", onsubmit: submit }, el("h3", {}, "Wrong?"),
    el("label", {}, "The right label", label, known), el("label", {}, "Dataset that learns it", dataset), send, says);
  offer(job, form, known, dataset).then(() => { send.disabled = false; });
  return form;
}

/** Offer the datasets, that of the model first, and their labels. Without any dataset there is nothing to correct. */
async function offer(job, form, known, dataset) {
  const { name, version } = job.model;
  const [details, { datasets }] = await Promise.all([
    get(`${ROOT}/v1/models/${encodeURIComponent(name)}/versions/${encodeURIComponent(version)}`).catch(() => ({})),
    get(`${ROOT}/v1/datasets?limit=500`).catch(() => ({ datasets: [] })),
  ]);
  if (!details.training && !datasets.length) {
    form.replaceChildren(el("p", { class: "calm" }, "To correct a label, make a dataset that learns it: ", el("code", {}, "inferq datasets create NAME FOLDER")));
    return;
  }
  dataset.append(...(details.training ? [datasetOption("", "that of the model", details.problem_type)] : []),
    ...datasets.map((one) => datasetOption(one.id, one.name, one.problem_type)));
  const labels = () => {
    const chosen = datasets.find((one) => String(one.id) === dataset.value);
    const names = chosen ? chosen.labels.map((one) => one.name) : details.label_names || [];
    known.replaceChildren(...names.map((value) => el("option", { value })));
  };
  dataset.addEventListener("change", labels);
  dataset.dispatchEvent(new Event("change")); // the first is chosen now
}
