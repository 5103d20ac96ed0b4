// What the pages of models share: addresses, and a version in one line and in words.
import { ROOT } from "./api.js";
import { method } from "./evidence.js";
import { MULTI_LABEL } from "./labels.js";
import { ago, el, many, percent, state, track } from "./page.js";

/** Return the address of a model in the API. */
export function address(name) {
  return `${ROOT}/v1/models/${encodeURIComponent(name)}`;
}

/** Return the address of a version in the API. */
export function versionAddress({ name, version }) {
  return `${address(name)}/versions/${encodeURIComponent(version)}`;
}

/** Return the address of the page of a model. */
export function modelPage(name) {
  return `${ROOT}/ui/models/${encodeURIComponent(name)}`;
}

/** Return the address of the page of a version. */
export function versionPage({ name, version }) {
  return `${modelPage(name)}/versions/${encodeURIComponent(version)}`;
}

/** Return how a version came to be, in a few words. */
export function origin(model, version) {
  return method(version.method) || (model.shared ? "published weights" : "imported");
}

/** Return the number of labels in words; nothing before they are known. */
export function labelled({ labels, problem_type: problemType }) {
  return labels && many(labels, "label") + (problemType === MULTI_LABEL ? ", multi-label" : "");
}

/** Return a version as a line of a list; `actions` stand at its end. */
export function row(model, version, { name = `version ${version.version}`, actions = null } = {}) {
  const isDefault = model.shared ? model.is_default : version.version === model.default_version;
  const meaning = `the default: answers requests that name no ${model.shared ? "model" : "version"}`;
  const made = [origin(model, version), version.architecture, labelled(version)];
  const right = version.accuracy == null ? null : [el("span", {}, percent(version.accuracy)), track(version.accuracy)];
  return el("li", {},
    el("span", { class: "star", title: isDefault && meaning }, isDefault ? "★" : ""),
    el("span", { class: "what" }, el("a", { href: versionPage(version) }, el("b", {}, name)),
      el("small", {}, made.filter(Boolean).join(" · "), " · ", ago(version.created_at)),
      version.reason ? el("small", { class: version.state === "checking" ? false : "wrong" }, version.reason) : null),
    el("span", { class: "right" }, right),
    el("span", { class: "stands" }, state(version.state), isDefault ? el("em", {}, "default") : null,
      version.canary ? el("em", {}, `canary ${percent(version.canary, 0)}`) : null),
    el("span", { class: "actions" }, actions));
}

/** Return in words which answers a version believes. */
export function believed(rule) {
  const near = rule.max_distance == null ? "" : ` of pictures within a distance of ${rule.max_distance.toFixed(3)}`;
  const label = rule.unknown_label ? `; otherwise ${rule.unknown_label} on wires without a word for doubt` : "";
  const scores = rule.min_score ? `scores from ${rule.min_score.toFixed(3)} on` : "every score";
  return `It believes ${scores}${near}, for a precision of ${percent(rule.precision)}${label}.`;
}
