// The answer for one picture: its labels, whether it is believed, its error, and where the evidence for it lies.
import { picture } from "./api.js";
import { bar, el, percent } from "./page.js";

/** Return the labels of a prediction as bars, with what is to be said of them; `written` writes a score. */
export function answer(prediction, written = percent) {
  const { error, status, results = [] } = prediction;
  if (error) return el("p", { class: "wrong" }, error.message || String(error));
  if (!results.length && status) return el("p", { class: "calm" }, WAITING[status] || status.toLowerCase());
  return el("div", { class: "labels" },
    results.length ? results.map(({ label, score }) => bar(label, score, written(score))) : null,
    results.length ? null : el("p", { class: "calm" }, "no label reaches its threshold"), belief(prediction));
}

const WAITING = { QUEUED: "waiting …", RUNNING: "running …", CANCELLED: "cancelled before it ran", EXPIRED: "expired before it ran" };

/** Return whether an answer is believed, in words; null of a version without a rejection rule. */
export function belief({ confident, doubt }) {
  if (confident == null) return null;
  return confident ? el("p", { class: "belief" }, el("span", { class: "state done" }, "confident"))
    : el("p", { class: "belief" }, el("span", { class: "state doubted" }, "not believed"), ` ${doubt ? doubt.message : ""}`);
}

/** Return the heat map of an explanation, fetched with the key, or the reason why there is none. */
export function heatMap({ label, link, reason }) {
  if (!link) return el("p", { class: "calm" }, `Not explained: ${reason}`);
  const place = el("figure", { class: "explained" }, el("figcaption", {}, `The evidence for ${label}`));
  picture(link)
    .then((src) => place.prepend(el("img", { src, alt: `The picture, hot where the evidence for ${label} lies` })))
    .catch((problem) => place.append(el("p", { class: "wrong" }, problem.message)));
  return place;
}
