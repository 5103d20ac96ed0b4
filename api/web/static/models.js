// The models, their versions, and the choice of the version that answers.
import { ROOT, call, get, pause } from "./api.js";
import { method } from "./evidence.js";
import { $, ago, button, el, empty, fill, fold, many, percent, state, sure, track, whenKeyed } from "./page.js";
import { report } from "./report.js";

const WAIT = 20; // seconds that one call may wait for a comparison
const AGAIN = 1000; // milliseconds between two such calls, as the service may have no free waiting place
const place = $("content");

function load() {
  return fill(place, fetched, (models) => {
    const own = models.filter((model) => !model.shared);
    const shared = models.filter((model) => model.shared);
    const command = "inferq train DATASET --base mobilenet_v2 --name NAME";
    const none = empty("No models of your own yet. Training on a dataset makes one:", command);
    return [own.length ? own.map(card) : none, shared.length ? catalogue(shared) : null];
  });
}

/** Return every model, with `comparisons` if it has several versions, and with the counts of its canary. */
async function fetched() {
  const { models } = await get(`${ROOT}/v1/models`);
  return Promise.all(models.map(async (model) => {
    if (model.shared || model.versions.length < 2) return { ...model, comparisons: [] };
    const at = address(model);
    const [{ comparisons }, canary] = await Promise.all([
      get(`${at}/comparisons`), model.versions.some((version) => version.canary) ? get(`${at}/canary`) : null,
    ]);
    return { ...model, comparisons, canary };
  }));
}

function address(model) {
  return `${ROOT}/v1/models/${encodeURIComponent(model.name)}`;
}

function card(model) {
  const says = el("div", { class: "says", "aria-live": "polite" });
  const newest = [...model.versions].reverse();
  return el("section", { class: "card model" },
    el("div", { class: "model-head" }, el("h2", {}, model.name), el("small", {}, about(model)),
      model.versions.length > 1 ? sure("Roll back", "Undo the last promotion?", says, async () => {
        await call("POST", `${address(model)}/rollback`);
        await load();
      }) : null),
    el("ul", { class: "versions" }, newest.map((version) => row(model, version, says))),
    model.canary ? canaryLine(model, says) : null, says);
}

function about(model) {
  const parts = [many(model.versions.length, "version")];
  if (model.is_default) parts.push("answers requests that name no model");
  if (model.aliases.length) parts.push(`aliases ${model.aliases.join(", ")}`);
  return parts.join(" · ");
}

function row(model, version, says, name = `version ${version.version}`) {
  const isDefault = model.shared ? model.is_default : version.version === model.default_version;
  const meaning = `the default: answers requests that name no ${model.shared ? "model" : "version"}`;
  const title = el("b", {}, name);
  const origin = method(version.method) || (model.shared ? "published weights" : "imported");
  const isMultiLabel = version.problem_type === "multi_label_classification";
  const labels = version.labels && many(version.labels, "label") + (isMultiLabel ? ", multi-label" : "");
  const made = [origin, version.architecture, labels];
  const right = version.accuracy == null ? null : [el("span", {}, percent(version.accuracy)), track(version.accuracy)];
  const open = !isDefault && version.state === "ready" && !model.shared;
  const titled = version.training ? el("a", { href: `${ROOT}/ui/trainings/${version.training}` }, title) : title;
  return el("li", {},
    el("span", { class: "star", title: isDefault && meaning }, isDefault ? "★" : ""),
    el("span", { class: "what" }, titled,
      el("small", {}, made.filter(Boolean).join(" · "), " · ", ago(version.created_at)),
      version.preprocessing ? prepared(version) : null,
      version.rejection ? el("small", {}, rejection(version.rejection)) : null,
      version.state === "ready" ? engine(version) : null,
      version.reason ? el("small", { class: "wrong" }, version.reason) : null),
    el("span", { class: "right" }, right),
    el("span", { class: "stands" }, state(version.state), isDefault ? el("em", {}, "default") : null,
      version.canary ? el("em", {}, `canary ${percent(version.canary, 0)}`) : null),
    el("span", { class: "actions" }, open ? choices(model, version, says) : null));
}

/** Return in words which answers a version believes. */
function rejection(rule) {
  const near = rule.max_distance == null ? "" : ` of pictures within a distance of ${rule.max_distance.toFixed(3)}`;
  const label = rule.unknown_label ? `; otherwise ${rule.unknown_label} on wires without a word for doubt` : "";
  const scores = rule.min_score ? `scores from ${rule.min_score.toFixed(3)} on` : "every score";
  return `believes ${scores}${near}, for a precision of ${percent(rule.precision)}${label}`;
}

const ORIGINS = {
  published: "as published with the weights",
  recognised: "recognised by the checksum of the file",
  included: "as it lies beside the weights",
  requested: "as the import asked for",
  assumed: "assumed, as the import named none",
};
const USUAL = { mode: "RGB", channel_order: "RGB", crop_offset: "round", background: "", color_profile: "ignore" };

/** Return how pictures are prepared for a version, folded: its values and where they come from. */
function prepared({ preprocessing, preset }) {
  const values = Object.entries(preprocessing).filter(([name, value]) => {
    return name === "scale" ? Math.abs(value - 1 / 255) > 1e-9 : USUAL[name] !== value;
  });
  const rows = values.map(([name, value]) => [el("dt", {}, name.replace("_", " ")), el("dd", {}, shown(name, value))]);
  const origin = preset && [preset.name, ORIGINS[preset.origin]].filter(Boolean).join(", ");
  return el("details", { class: "values" }, el("summary", {}, "preprocessing"),
    el("dl", {}, rows.flat()), origin ? el("p", {}, origin) : null);
}

/** Return what runs a version and what was measured, folded, and fetched when it is opened: it is asked for seldom. */
function engine({ name, version }) {
  const body = el("div", {});
  const folded = el("details", { class: "values" }, el("summary", {}, "engine"), body);
  folded.addEventListener("toggle", async () => {
    if (!folded.open) return;
    try {
      body.replaceChildren(...measured(await get(`${address({ name })}/versions/${encodeURIComponent(version)}`)));
    } catch (error) {
      body.replaceChildren(el("p", { class: "wrong" }, error.message));
    }
  });
  return folded;
}

function measured({ engine, engine_report: report }) {
  const runs = el("p", {}, engine || "not loaded by a worker");
  if (!report) return [runs, el("p", {}, "No other engine was tried yet: only busy models are.")];
  const names = new Set([...Object.keys(report.pictures_per_second), ...Object.keys(report.errors)]);
  const rows = [...names].map((each) => [el("dt", {}, each), el("dd", {}, found(report, each))]);
  return [runs, el("p", {}, `precision ${report.precision}, chosen: ${report.chosen || report.runtime}`),
    el("dl", {}, rows.flat())];
}

function found({ pictures_per_second: rates, errors, pictures }, name) {
  const { agreement, score_difference: moved } = errors[name] || {};
  const rate = rates[name] && `${rates[name]} pictures/s`;
  const kept = agreement != null && `${percent(agreement)} of ${pictures} pictures keep their label`;
  return [rate, kept, moved != null && `scores move by ${moved.toPrecision(2)} at most`].filter(Boolean).join("; ");
}

function shown(name, value) {
  if (Array.isArray(value)) return value.join(name === "resize" || name === "crop" ? " × " : ", ");
  return name === "scale" ? value.toPrecision(4) : String(value);
}

/** Return the actions of a version that is ready and not the default. */
function choices(model, version, says) {
  const body = { version: version.version };
  return [
    button("Compare", says, () => compare(model, version, says)),
    sure("Promote", `Make ${version.version} the default?`, says, async () => {
      await call("POST", `${address(model)}/promote`, { json: body });
      await load();
    }),
    version.canary ? null : button("Canary", says, async () => says.replaceChildren(canaryForm(model, version, says))),
  ];
}

/** Show the newest comparison of a version with the default version, or make a new one. */
async function compare(model, version, says, again = false) {
  const known = model.comparisons.find((one) =>
    one.candidate === version.version && one.baseline === model.default_version && one.status !== "FAILED");
  let found = again ? null : known;
  const both = `Version ${version.version} and version ${model.default_version}`;
  says.replaceChildren(el("p", { class: "calm" }, `${both} are compared on the same test pictures …`));
  found ??= await call("POST", `${address(model)}/compare`, { json: { version: version.version }, wait: WAIT });
  while (!found.terminal) {
    await pause(AGAIN);
    found = await get(`${ROOT}/v1/comparisons/${found.id}`, { wait: WAIT });
  }
  if (found.status !== "DONE") throw new Error(`They cannot be compared: ${found.error || "no reason was given"}`);
  const close = el("button", { class: "quiet", type: "button", onclick: () => says.replaceChildren() }, "Close");
  says.replaceChildren(report(found), el("p", { class: "actions" },
    button("Compare again", says, () => compare(model, version, says, true)), close));
}

function canaryForm(model, version, says) {
  const share = el("input", { type: "number", min: 1, max: 100, value: 10, required: true });
  const start = el("button", { type: "submit" }, "Start the canary");
  const submit = async (event) => {
    event.preventDefault();
    start.disabled = true;
    try {
      const json = { version: version.version, share: share.valueAsNumber / 100 };
      await call("PUT", `${address(model)}/canary`, { json });
      await load();
    } catch (error) {
      says.replaceChildren(el("p", { class: "wrong", role: "alert" }, error.message));
    }
  };
  return el("form", { class: "canary", onsubmit: submit },
    el("label", {}, `Let version ${version.version} answer`, share, "% of the requests that name no version."), start);
}

function canaryLine(model, says) {
  const { version, share, compared, agreed, agreement } = model.canary;
  const counted = `it agreed with the default on ${agreed} of ${many(compared, "picture")}, ${percent(agreement)}`;
  const so = compared ? counted : "no picture has been compared so far";
  return el("div", { class: "canary" },
    el("p", {}, el("b", {}, `Version ${version}`), ` answers ${percent(share, 0)} of the requests that name no version; `,
      `${so}.`),
    compared ? track(agreement) : null,
    sure("End the canary", "Let the default answer everything?", says, async () => {
      await call("DELETE", `${address(model)}/canary`);
      await load();
    }));
}

/** Return the models of the catalogue, each with one version. */
function catalogue(models) {
  const rows = models.flatMap((model) => model.versions.map((version) => row(model, version, null, model.name)));
  const list = el("div", { class: "card model" }, el("ul", { class: "versions" }, rows));
  return fold(`Catalogue (${models.length})`, list);
}

whenKeyed(load);
