// What can be decided about a model: promote, canary, roll back, remove; each says first what answers afterwards.
import { ROOT, call } from "./api.js";
import { ask } from "./confirm.js";
import { compare, known } from "./comparing.js";
import { button, el, many, percent } from "./page.js";
import { VERDICTS } from "./report.js";
import { address, versionAddress } from "./versions.js";

/** Return the buttons of a version that is ready and not the default; `again` loads the page anew. */
export function choices(model, version, says, again) {
  const comparing = button("Compare", says, () => compare(model, version, says));
  const promoting = button("Promote", says, async () => promote(model, version, comparing, again));
  const canary = button("Canary", says, async () => setCanary(model, version, again));
  return [comparing, promoting, version.canary ? null : canary];
}

/** Return the requests that the default version of a model answers. */
function requests(model) {
  const names = [model.name, ...model.aliases].join(" or ");
  return `requests that name ${names} without a version${model.is_default ? ", and those that name no model" : ""}`;
}

function canaryEnds(model) {
  const canary = model.versions.find((version) => version.canary);
  return canary ? `The canary of version ${canary.version} ends.` : "";
}

function promote(model, { version }, comparing, again) {
  const before = model.default_version;
  const comparison = known(model, version);
  if (!comparison) {
    ask({
      title: `Version ${version} has not been compared yet`,
      says: [`A version is promoted after a comparison with the default, version ${before}, on the same test pictures.`],
      does: "Compare them", work: async () => comparing.click(),
    });
    return;
  }
  ask({
    title: `Make version ${version} the default?`,
    says: [
      `Version ${version} answers the ${requests(model)}; now version ${before} does.`, canaryEnds(model),
      `Version ${before} stays: it answers requests that name it, and a roll-back makes it the default again.`,
      `On ${many(comparison.report.pictures, "test picture")}: ${VERDICTS[comparison.report.verdict || "open"]}.`,
    ],
    does: "Promote", work: async () => {
      await call("POST", `${address(model.name)}/promote`, { json: { version } });
      await again();
    },
  });
}

/** Ask for the share of a canary. */
export function setCanary(model, { version }, again) {
  const other = model.versions.find((one) => one.canary);
  const share = el("input", { type: "number", min: 1, max: 100, value: 10, required: true });
  ask({
    title: `Let version ${version} answer a share?`,
    says: [
      `It answers that share of the ${requests(model)}. The default, version ${model.default_version}, answers the others; `
        + "it is also run on the pictures of the share, so that agreement is counted.",
      other ? `The canary of version ${other.version} ends.` : "",
    ],
    fields: el("label", {}, "Share of the requests, %", share),
    does: "Start the canary", work: async () => {
      await call("PUT", `${address(model.name)}/canary`, { json: { version, share: share.valueAsNumber / 100 } });
      await again();
    },
  });
}

export function endCanary(model, again) {
  const { version, share } = model.canary;
  ask({
    title: "End the canary?",
    says: [`The default, version ${model.default_version}, answers all ${requests(model)}. Version ${version}, which answers `
      + `${percent(share, 0)} of them now, stays; the counts of its agreement are removed.`],
    does: "End the canary", work: async () => {
      await call("DELETE", `${address(model.name)}/canary`);
      await again();
    },
  });
}

export function rollBack(model, again) {
  const now = model.default_version;
  ask({
    title: `Roll back to version ${model.rollback_to}?`,
    says: [`Version ${model.rollback_to} answers the ${requests(model)} again; now version ${now} does.`, canaryEnds(model),
      `Version ${now} stays, and can be promoted again.`],
    does: "Roll back", work: async () => {
      await call("POST", `${address(model.name)}/rollback`);
      await again();
    },
  });
}

/** Say which version becomes the default when one that is not ready is removed. */
function successor(ready) {
  if (!ready.length) return "No other version is ready to answer in its place.";
  return `It is not ready; version ${ready.at(-1).version} becomes the default.`;
}

/** Ask before a version is removed; with the last one the model goes. */
export function removeVersion(model, version, again) {
  if (model.versions.length === 1) {
    removeModel(model, again);
    return;
  }
  const isDefault = version.version === model.default_version;
  const ready = model.versions.filter((one) => one.state === "ready" && one.version !== version.version);
  if (isDefault && version.state === "ready" && ready.length) {
    ask({
      title: `Version ${version.version} is the default`,
      says: [`It answers the ${requests(model)}. Promote another version first: only a promotion decides which one answers `
        + "instead. The whole model can be removed on its page."],
    });
    return;
  }
  ask({
    title: `Remove version ${version.version} of ${model.name}?`,
    says: [
      isDefault ? successor(ready) : `Version ${model.default_version} goes on answering the ${requests(model)}.`,
      `Requests that name version ${version.version} are refused from then on.`,
      version.canary ? "Its canary ends." : "",
      model.rollback_to === version.version ? "A roll-back to it is no longer possible." : "",
      `Its weights and comparisons are removed${version.training ? ", and the training with its evidence; the dataset stays" : ""}. `
        + "This cannot be undone: export it first if it may be needed.",
    ],
    does: "Remove the version", work: async () => {
      await call("DELETE", versionAddress({ name: model.name, version: version.version }));
      await again();
    },
  });
}

export function removeModel(model, again) {
  const others = model.aliases.length ? ` or ${model.aliases.join(" or ")}` : "";
  ask({
    title: `Remove ${model.name}?`,
    says: [
      `${many(model.versions.length, "version")} with weights, trainings, evidence and comparisons are removed`
        + `${others ? `, and the aliases ${model.aliases.join(", ")}` : ""}. Datasets and jobs stay.`,
      `Requests that name ${model.name}${others} are refused from then on, unless the catalogue has a model of that name.`,
      model.is_default ? "Requests that name no model are answered by it now: another default must answer them." : "",
      "This cannot be undone: export what may be needed first.",
    ],
    does: "Remove the model", work: async () => {
      await call("DELETE", address(model.name));
      await again();
    },
  });
}

/** Ask before the model answers requests that name none. */
export function makeDefault(model, standard, again) {
  ask({
    title: `Let ${model.name} answer requests that name no model?`,
    says: [`On every wire, with its default version; now ${standard.model} answers them.`],
    does: "Make it the default model", work: async () => {
      await call("PUT", `${ROOT}/v1/default-model`, { json: { model: model.name } });
      await again();
    },
  });
}

export function resetDefault(model, again) {
  ask({
    title: "Take the choice back?",
    says: [`Requests that name no model are answered by the default of the service; now ${model.name} answers them.`],
    does: "Take it back", work: async () => {
      await call("DELETE", `${ROOT}/v1/default-model`);
      await again();
    },
  });
}
