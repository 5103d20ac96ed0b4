// What each tenant uses of what it may, and the form by which the operator limits it.
import { ROOT, call, get } from "./api.js";
import { act, bytes, el, facts, fill, fold, group, lasting, many, track } from "./page.js";

const PERIODS = [["days", 86400], ["hours", 3600], ["minutes", 60], ["seconds", 1]];
const SIZES = [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10], ["bytes", 1]];

/** Fill `place` with the tenants that the key may see; `mayLimit` adds the forms. */
export async function showTenants(place, mayLimit) {
  const again = () => showTenants(place, mayLimit);
  await fill(place, () => get(`${ROOT}/v1/usage`), ({ tenants }) => group(tenants.length > 1 ? "Tenants" : "Tenant",
    "Used of what is allowed: pictures of the last 24 hours, all else as long as it is kept.",
    el("div", { class: "machines" }, tenants.map((one) => tenant(one, mayLimit, again)))), again);
}

function tenant(one, mayLimit, again) {
  const { in_effect: limits } = one;
  const rate = limits.pictures_per_minute;
  return el("section", { class: "card machine tenant" }, el("h3", {}, one.tenant),
    gauge("Kept", one.kept_bytes, limits.max_bytes, bytes), gauge("Waiting for one model", one.fullest, limits.max_queued, number),
    facts([
      ["pictures", `${number(one.answered)}${one.failed ? `, ${number(one.failed)} of them failed` : ""}`],
      ["at most", rate == null ? "as many a minute as it likes" : `${many(rate, "picture")} a minute`],
      ["jobs", `${number(one.jobs)}, each kept for ${period(limits.keep_jobs)}`],
      ["trainings", one.trainings ? `${number(one.trainings)}, ${lasting(one.training_seconds)} in all` : "none"],
      ["keys", one.keys ? number(one.keys) : "none"],
    ]),
    mayLimit ? fold("Set limits", limiting(one, again)) : null);
}

/** Return how much of a limit is used, in words and as a bar. */
function gauge(word, used, most, shown) {
  const full = most != null && used >= most;
  return el("div", { class: full ? "gauge full" : "gauge" }, el("p", {}, el("span", {}, word),
    el("b", {}, most == null ? `${shown(used)}, no limit` : `${shown(used)} of ${shown(most)}`)),
  most == null ? null : track(most ? used / most : 1));
}

function limiting(one, again) {
  const says = el("div", { "aria-live": "polite" });
  const send = el("button", { type: "submit" }, "Set");
  const submit = (event) => {
    event.preventDefault();
    const fields = new FormData(event.target);
    const json = {};
    for (const name of ["keep_jobs", "max_bytes", "max_queued", "pictures_per_minute"]) {
      if (fields.get(name)) json[name] = Number(fields.get(name)) * Number(fields.get(`${name}_unit`) || 1);
    }
    if (json.max_bytes) json.max_bytes = Math.round(json.max_bytes);
    act(send, says, async () => { await call("PUT", `${ROOT}/v1/tenants/${encodeURIComponent(one.tenant)}/limits`, { json }); await again(); });
  };
  return el("form", { onsubmit: submit }, el("p", { class: "calm" }, "What is left empty is as in the settings of the service."),
    el("div", { class: "fields" },
      measure("Ended jobs are kept for", "keep_jobs", one.keep_jobs, PERIODS), measure("Kept in all, at most", "max_bytes", one.max_bytes, SIZES),
      counted("Pictures that may wait for one model", "max_queued", one.max_queued, 0),
      counted("Pictures a minute", "pictures_per_minute", one.pictures_per_minute, 1)),
    el("p", { class: "actions" }, send), says);
}

function counted(label, name, value, min) {
  return el("label", {}, label, el("input", { name, type: "number", min, step: 1, value, placeholder: "as in the settings" }));
}

/** Return a number with its unit, at first the largest that gives a whole number. */
function measure(label, name, value, units) {
  const [unit, size] = (value && units.find(([, each]) => value % each === 0)) || units[0];
  return el("div", { class: "measure" },
    el("label", {}, label, el("input", { name, type: "number", min: 0, step: "any", value: value == null ? null : value / size, placeholder: "as in the settings" })),
    el("select", { name: `${name}_unit`, "aria-label": `${label}: unit` },
      units.map(([word, each]) => el("option", { value: each, selected: word === unit }, word))));
}

function period(seconds) {
  const [word, size] = PERIODS.find(([, each]) => seconds >= each && seconds % each === 0) || PERIODS.at(-1);
  return many(seconds / size, word.slice(0, -1), word);
}

function number(count) {
  return count.toLocaleString("en");
}
