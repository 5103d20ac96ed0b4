// The comparison of a version with the default version: the newest one that is known, or a new one.
import { Problem, ROOT, call, get, pause } from "./api.js";
import { act, button, el } from "./page.js";
import { report } from "./report.js";
import { address } from "./versions.js";

const WAIT = 20; // seconds that one call may wait for a comparison
const AGAIN = 1000; // milliseconds between two such calls, as the service may have no free waiting place
const DATASETS = 500;

/** Return the newest comparison of a version with the default version that is DONE; undefined without one. */
export function known(model, version) {
  return model.comparisons.find((one) =>
    one.candidate === version && one.baseline === model.default_version && one.status === "DONE");
}

/** Show the newest comparison of a version with the default version, or make a new one. */
export async function compare(model, version, says, isNew = false) {
  const { comparisons } = await get(`${address(model.name)}/comparisons`); // one may have been queued or ended by now
  model.comparisons.splice(0, Infinity, ...comparisons);
  const live = comparisons.find((one) =>
    one.candidate === version.version && one.baseline === model.default_version && !one.terminal);
  const found = isNew ? null : known(model, version.version);
  if (found) show(model, version, found, says);
  else if (live) await follow(model, version, live, says);
  else if (version.training) await again(model, version, says);
  else says.replaceChildren(await choice(model, version, says)); // of an import no dataset is known
}

/** Compare on the dataset of the training, or on one that is chosen if that was removed. */
async function again(model, version, says) {
  try {
    await run(model, version, {}, says);
  } catch (error) {
    if (!(error instanceof Problem) || error.status !== 404) throw error;
    says.replaceChildren(await choice(model, version, says));
  }
}

/** Return a form that asks for the dataset whose test pictures are used. */
async function choice(model, version, says) {
  const { datasets } = await get(`${ROOT}/v1/datasets?limit=${DATASETS}`);
  const fit = datasets.filter((one) => one.state === "READY" && one.examples && one.problem_type === version.problem_type);
  if (!fit.length) {
    return el("p", { class: "calm" }, `To compare version ${version.version}, ${version.training ? "whose dataset was removed" : "which was not trained here"}, make a dataset with `
      + "pictures of its labels: ", el("code", {}, "inferq datasets create NAME FOLDER"));
  }
  const select = el("select", {}, fit.map((one) => el("option", { value: one.id }, one.name)));
  const start = el("button", { type: "submit" }, "Compare");
  const wrong = el("div", { "aria-live": "polite" });
  const submit = (event) => {
    event.preventDefault();
    act(start, wrong, () => run(model, version, { dataset: select.value }, says));
  };
  return el("form", { class: "compare-on", onsubmit: submit },
    el("label", {}, `Compare version ${version.version} with version ${model.default_version} on the test pictures of`, select),
    start, wrong);
}

async function run(model, version, chosen, says) {
  const json = { version: version.version, ...chosen };
  await follow(model, version, await call("POST", `${address(model.name)}/compare`, { json }), says);
}

/** Wait for a comparison, and show it. */
async function follow(model, version, begun, says) {
  let found = begun;
  says.replaceChildren(el("p", { class: "calm" },
    `Version ${version.version} and version ${model.default_version} are compared on the same test pictures …`));
  while (!found.terminal) {
    found = await get(`${ROOT}/v1/comparisons/${found.id}`, { wait: WAIT });
    if (!found.terminal) await pause(AGAIN);
  }
  if (found.status !== "DONE") throw new Error(`They cannot be compared: ${found.error || "no reason was given"}`);
  model.comparisons.unshift(found); // so that the version can be promoted now
  show(model, version, found, says);
}

function show(model, version, found, says) {
  const close = el("button", { class: "quiet", type: "button", onclick: () => says.replaceChildren() }, "Close");
  says.replaceChildren(report(found), el("p", { class: "actions" },
    button("Compare again", says, () => compare(model, version, says, true)), close));
}
