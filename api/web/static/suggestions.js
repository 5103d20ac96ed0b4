// The pictures that a model has seen and that are most worth labelling: a label for each, or none.
import { ROOT, call, get } from "./api.js";
import { datasetOption, labelField, right } from "./labels.js";
import { $, button, bytes, el, fill, group, many, percent, sure, whenKeyed } from "./page.js";
import { thumb } from "./thumbs.js";

const LIMIT = 24;
const DATASETS = 100;
const LABELS = "labels"; // the id of the list that the fields suggest labels from
const WHY = { uncertain: "uncertain", unlike_training: "unlike the training" };
const model = decodeURIComponent(location.pathname.split("/").at(-2));
const path = `${ROOT}/v1/models/${encodeURIComponent(model)}`;
const place = $("content");

function load() {
  document.title = `Worth labelling · ${model} · inferq`;
  $("hero").replaceChildren(el("h1", {}, "Worth labelling"),
    el("p", {}, `Pictures that ${model} has seen, from which its next training learns most.`));
  return fill(place, fetched, show, load);
}

/** Return what is kept, the suggestions, and the datasets that their labels may be for. */
async function fetched() {
  const seen = await get(`${path}/seen-pictures`);
  if (!seen.keeping) return { seen };
  const found = await call("POST", `${path}/suggestions`, { json: { limit: LIMIT } });
  if (found.dataset) return { seen, found, datasets: [await get(`${ROOT}/v1/datasets/${found.dataset.id}`)] };
  const { datasets } = await get(`${ROOT}/v1/datasets?limit=${DATASETS}`);
  return { seen, found, datasets: datasets.filter(({ state }) => state === "READY") };
}

function show({ seen, found, datasets }) {
  if (!seen.keeping) return choosing();
  const choice = el("select", { "aria-label": "Dataset" }, datasets.map(({ id, name, problem_type: problemType }) =>
    datasetOption(id, name, problemType)));
  const list = el("datalist", { id: LABELS });
  const offered = () => {
    const { labels = [] } = datasets.find(({ id }) => String(id) === choice.value) || {};
    list.replaceChildren(...labels.map(({ name }) => el("option", { value: name })));
  };
  choice.addEventListener("change", offered);
  offered();
  return [kept(seen), found.suggestions.length ? labelling(found, choice, list) : nothing(found)];
}

/** Return a form that has pictures kept: that is each tenant's own choice. */
function choosing() {
  const says = el("div", { "aria-live": "polite" });
  const most = el("input", { type: "number", min: 1, max: 20000, value: 1000, required: true });
  const days = el("input", { type: "number", min: 1, max: 365, value: 30, required: true });
  const start = button("Keep them", says, async () => {
    if (!most.reportValidity() || !days.reportValidity()) return;
    await call("PUT", `${path}/seen-pictures`, { json: { most: most.valueAsNumber, days: days.valueAsNumber } });
    await load();
  }, "");
  return el("div", { class: "card" },
    el("p", {}, "The pictures that jobs send to this model are not kept to be labelled. Those that it is unsure about can "
      + "be, from now on: they stay after their jobs are deleted by age, and count among the bytes that you keep."),
    el("div", { class: "fields" }, el("label", {}, "At most", most), el("label", {}, "Days for each", days)),
    el("p", { class: "actions" }, start), says);
}

function kept(seen) {
  const says = el("div", { "aria-live": "polite" });
  const now = `${many(seen.pictures, "picture")} kept, ${bytes(seen.bytes)}.`;
  const stop = sure("Keep none", "Remove all of them?", says, async () => {
    await call("DELETE", `${path}/seen-pictures`);
    await load();
  });
  return el("div", { class: "card kept-row" },
    el("p", {}, `${now} At most ${seen.most}, each for ${many(seen.days, "day")} after it was last seen.`), stop, says);
}

function nothing({ version, seen }) {
  const others = seen.filter((each) => each.version !== version);
  const told = others.map((each) => `version ${each.version} (${each.pictures})`).join(", ");
  return el("p", { class: "calm" }, `Of the pictures that version ${version} has seen so far, none is left to be labelled.`,
    told ? ` Other versions have seen some: ${told}.` : "");
}

function labelling(found, choice, list) {
  const shots = el("div", { class: "shots worth" });
  const next = async (shot, wasInside) => {
    const after = shot.nextElementSibling || shot.previousElementSibling;
    shot.remove();
    if (!after) await load();
    else if (wasInside) after.querySelector("input").select();
  };
  shots.append(...found.suggestions.map((each) => shot(each, choice, next)));
  const about = "Enter confirms or corrects a label, Escape dismisses the picture.";
  const where = found.dataset ? el("p", {}, "Labels go into the dataset ",
    el("a", { href: `${ROOT}/ui/datasets/${found.dataset.id}` }, found.dataset.name), ".")
    : el("div", { class: "choose" }, choice);
  return group("Suggestions", about, where, list, shots);
}

/** Return a picture with the present answer and a field for the right label. */
function shot(suggestion, choice, next) {
  const says = el("div", { class: "says", "aria-live": "polite" });
  const field = labelField(choice, { value: suggestion.label, list: LABELS, "aria-label": `Label of ${suggestion.name}` });
  const label = el("button", { type: "submit" }, "Label");
  const dismiss = button("Dismiss", says, async () => {
    const wasInside = form.contains(document.activeElement) || document.activeElement === document.body;
    await call("DELETE", suggestion.links.self);
    await next(figure, wasInside);
  });
  const submit = async (event) => {
    event.preventDefault();
    if (label.disabled) return;
    label.disabled = true;
    says.replaceChildren();
    try {
      const json = { ...right(field.value, choice), ...(choice.value ? { dataset: choice.value } : {}) };
      await call("POST", suggestion.links.self, { json });
      await next(figure, true);
    } catch (error) {
      says.replaceChildren(el("p", { class: "wrong", role: "alert" }, error.message));
      label.disabled = false;
    }
  };
  const escape = (event) => { if (event.key === "Escape") dismiss.click(); };
  const form = el("form", { onsubmit: submit, onkeydown: escape }, field, label, says);
  form.insertBefore(dismiss, says);
  const answer = `${suggestion.label} ${percent(suggestion.score, 0)}`;
  const why = suggestion.why.map((each) => WHY[each] || each).join(", ");
  const figure = thumb(suggestion.links.picture, suggestion.name, el("span", { title: answer }, answer),
    el("span", { class: "why" }, why));
  figure.append(form);
  return figure;
}

whenKeyed(load);
