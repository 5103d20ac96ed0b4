// One training: its progress while it runs, its evidence when it is done.
import { ROOT, call, follow, get } from "./api.js";
import { curves } from "./curve.js";
import { evidence } from "./evidence.js";
import { $, ago, el, facts, fill, moving, state, sure, trouble, whenKeyed } from "./page.js";

const path = `${ROOT}/v1/trainings/${location.pathname.split("/").pop()}`;
const place = $("content");
let watching = new AbortController();
let called = ""; // the name of the dataset, which a training has only in its evidence

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
  const question = "Cancel it? Its progress is lost";
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
  return get(`${ROOT}/v1/datasets/${dataset}`, { signal }).then((found) => found.name, () => "");
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
    el("p", {}, "A training on ", el("a", { href: `${ROOT}/ui/datasets/${dataset.id}` }, named),
      dataset.version ? `, version ${dataset.version}` : "", base, ", created ", ago(training.created_at)));
}

function underway(training) {
  const { position } = training; // set while it is queued
  const says = position ? `Waiting: position ${position} in the queue.` : training.message || "Starting …";
  return [
    el("div", { class: "card" }, moving(says, position ? null : training.progress, "Progress of the training")),
    training.curve.length ? el("div", { class: "card" }, curves(training.curve)) : null,
  ].filter(Boolean);
}

/** Return the cards of a training that ended without a version. */
function ended(training) {
  const cancelled = training.status === "CANCELLED";
  const why = cancelled ? "It was cancelled; the dataset is unchanged." : training.error || "No reason was given.";
  return [
    el("div", { class: "card" }, el("h2", {}, cancelled ? "Cancelled" : "Failed"),
      el("p", { class: cancelled ? "calm" : "wrong" }, why),
      facts([
        ["started", ago(training.started_at)], ["ended", ago(training.finished_at)], ["code", training.error_code],
      ])),
    training.curve.length ? el("div", { class: "card" }, curves(training.curve)) : null,
  ];
}

whenKeyed(load);
