// One training: how far it is while it runs, what was measured when it is done.
import { call, follow, get } from "./api.js";
import { curves } from "./curve.js";
import { evidence } from "./evidence.js";
import { $, ago, el, facts, fill, moving, state, sure, trouble, whenKeyed } from "./page.js";

const path = `/v1/trainings/${location.pathname.split("/").pop()}`;
const place = $("content");
let watching = new AbortController();
let called = ""; // the name of the dataset, which a training does not tell before it is done

async function load() {
  watching.abort();
  watching = new AbortController();
  const { signal } = watching;
  let found;
  await fill(place, async () => {
    found = await get(path, { signal });
    if (!found.evidence) called = await named(found.dataset.id, signal);
    return found;
  }, show, load);
  if (!found || found.terminal || signal.aborted) return;
  const live = el("div");
  place.replaceChildren(live);
  const says = el("div", { "aria-live": "polite" });
  const question = "Really? What it has learned is dropped";
  const cancel = sure("Cancel the training", question, says, () => call("DELETE", path));
  const news = (training) => { head(training); live.replaceChildren(...underway(training)); };
  news(found);
  place.append(el("p", { class: "actions" }, cancel), says);
  try {
    await follow(path, news, signal);
    await fill(place, () => get(path, { signal }), show); // an event does not carry the evidence
  } catch (error) {
    place.replaceChildren(trouble(error, load));
  }
}

function named(dataset, signal) {
  return get(`/v1/datasets/${dataset}`, { signal }).then((found) => found.name, () => "");
}

function show(training) {
  head(training);
  if (training.status === "DONE") return evidence(training);
  return training.terminal ? ended(training) : underway(training);
}

function head(training) {
  const title = training.model ? `${training.name} ${training.model.version}` : training.name;
  document.title = `${training.terminal ? "" : `${Math.round(training.progress * 100)} % · `}${title} · inferq`;
  const { dataset, evidence: known } = training;
  const named = known?.dataset.name || called || `dataset ${dataset.id}`;
  const base = training.base && training.base !== "scratch" ? `, from ${training.base.replace(" ", "\u00a0")}` : "";
  $("hero").replaceChildren(el("h1", {}, title, " ", state(training.status)),
    el("p", {}, "A training on ", el("a", { href: `/ui/datasets/${dataset.id}` }, named),
      dataset.version ? `, version ${dataset.version}` : "", base, ", begun ", ago(training.created_at)));
}

function underway(training) {
  const { position } = training; // told while it waits for its turn
  const says = position ? `Waiting: place ${position} in the queue.` : training.message || "Beginning …";
  return [
    el("div", { class: "card" }, moving(says, position ? null : training.progress, "How far the training is")),
    training.curve.length ? el("div", { class: "card" }, curves(training.curve)) : null,
  ].filter(Boolean);
}

/** What is left of one that made no version. */
function ended(training) {
  const cancelled = training.status === "CANCELLED";
  const why = cancelled ? "It was cancelled; the dataset is as it was." : training.error || "No reason was given.";
  return [
    el("div", { class: "card" }, el("h3", {}, cancelled ? "Cancelled" : "It did not come to an end"),
      el("p", { class: cancelled ? "calm" : "wrong" }, why),
      facts([
        ["began", ago(training.started_at)], ["ended", ago(training.finished_at)], ["code", training.error_code],
      ])),
    training.curve.length ? el("div", { class: "card" }, curves(training.curve)) : null,
  ];
}

whenKeyed(load);
