// The suspect labels of a dataset, those that its newest training doubts: each is changed, kept, or deleted with its picture.
import { ROOT, call, get } from "./api.js";
import { editing } from "./editing.js";
import { MULTI_LABEL } from "./labels.js";
import { button, el, fill, group, many, percent } from "./page.js";
import { thumb } from "./thumbs.js";

const SHOWN = 24; // before the list is unfolded

/** Return the section; `changed` is called after each change of the dataset. It is empty before the first training. */
export function suspects(dataset, changed) {
  const place = el("div");
  const load = () => fill(place, () => get(`${ROOT}/v1/datasets/${dataset.id}/suspects`), (found) => show(found, dataset, changed, load));
  load();
  return place;
}

function show(found, dataset, changed, load) {
  if (!found.training) return null;
  const link = el("a", { href: `${ROOT}/ui/trainings/${found.training}` }, "newest training");
  const kept = found.kept ? ` ${many(found.kept, "other label that it doubts was", "other labels that it doubts were")} kept.` : "";
  if (!found.suspects.length) return group("Suspect labels", "", el("p", { class: "calm" }, "The ", link, " left no label in doubt.", kept));
  const count = el("span");
  const grid = el("div", { class: "shots worth" });
  let rest = found.suspects.slice(SHOWN);
  const add = (some) => grid.append(...some.map((one) => shot(one, dataset, settled)));
  const more = el("button", { class: "quiet", type: "button", onclick: () => { add(rest.splice(0)); tell(); } });
  const tell = () => {
    count.replaceChildren(many(grid.childElementCount + rest.length, "label is", "labels are"));
    more.textContent = `Show ${rest.length} more`;
    more.hidden = !rest.length;
  };
  const settled = async (figure, isChange) => {
    // A picture of several labels may have a card for each: the decision is about all of them.
    const isOther = (one) => one.dataset.example !== figure.dataset.example;
    const shots = [...grid.children];
    const after = shots.slice(shots.indexOf(figure)).find(isOther) || shots.findLast(isOther);
    grid.replaceChildren(...shots.filter(isOther));
    rest = rest.filter((one) => String(one.example.id) !== figure.dataset.example);
    tell();
    after?.querySelector("input").select(); // first of all: who types goes on at once
    if (isChange) await changed();
    if (!after) await load();
  };
  add(found.suspects.slice(0, SHOWN));
  tell();
  return group("Suspect labels", "",
    el("p", {}, count, " probably wrong, says the ", link, ". Enter gives a picture the label in its field, Escape keeps the one that it has.", kept),
    grid, more);
}

/** Return a picture with its label, and a form that decides for the suggested or another one. */
function shot(one, dataset, settled) {
  const { example } = one;
  const keep = (says) => button("Keep", says, async () => {
    await call("DELETE", `${ROOT}/v1/datasets/${dataset.id}/suspects/${example.id}`);
    await settled(figure, false);
  });
  const form = editing(example, dataset, better(one, dataset), () => settled(figure, true), keep);
  form.addEventListener("keydown", (event) => { if (event.key === "Escape" && event.target.matches("input")) form.querySelector(".decide button").click(); });
  const has = one.label || `without ${one.suggested}`;
  const figure = thumb(example.links.picture, example.name,
    el("span", { class: "answer-wrong", title: has }, el("span", {}, has), el("i", {}, percent(one.score, 0))),
    el("span", { title: one.suggested }, "rather ", one.suggested || "without it"));
  figure.dataset.example = example.id;
  figure.append(form);
  return figure;
}

/** Return the labels that the picture has after the suggested change, as a field takes them. */
function better({ example, label, suggested }, dataset) {
  if (dataset.problem_type !== MULTI_LABEL) return suggested;
  const others = example.labels.map(({ name }) => name).filter((name) => name !== label);
  return [...others, ...(suggested ? [suggested] : [])].join(", ");
}
