// The models of the caller and of the catalogue, the import of another one, and the aliases.
import { ROOT, get } from "./api.js";
import { aliases } from "./aliases.js";
import { drift, driftLine } from "./drift.js";
import { importing } from "./import.js";
import { $, el, empty, fill, fold, group, many, percent, whenKeyed } from "./page.js";
import { modelPage, row } from "./versions.js";

const SHOWN = 4; // versions of a model in the list, beside its default and its canary
const list = el("div");

function load() {
  return fill(list, fetched, ([models, named]) => {
    const own = models.filter((model) => !model.shared);
    const shared = models.filter((model) => model.shared);
    const command = "inferq train DATASET --base mobilenet_v2 --name NAME";
    const none = empty("No models of your own yet. An import below makes one, and so does a training on a dataset:", command);
    return [own.length ? own.map(card) : none, shared.length ? catalogue(shared) : null, aliases(named, models, load)];
  });
}

/** Return every model, those of the caller with their drift, and all aliases. */
async function fetched() {
  const [{ models }, { aliases: named }] = await Promise.all([get(`${ROOT}/v1/models`), get(`${ROOT}/v1/aliases`)]);
  const looked = models.map(async (model) => (model.shared ? model : { ...model, drift: await drift(model) }));
  return [await Promise.all(looked), named];
}

function card(model) {
  const newest = [...model.versions].reverse();
  const shown = newest.filter((version, index) =>
    index < SHOWN || version.canary || version.version === model.default_version);
  const page = modelPage(model.name);
  return el("section", { class: "card model" },
    el("div", { class: "model-head" }, el("h2", {}, el("a", { href: page }, model.name)), el("small", {}, about(model))),
    el("ul", { class: "versions" }, shown.map((version) => row(model, version))),
    driftLine(model.drift),
    el("p", { class: "leads" },
      shown.length < newest.length ? el("a", { href: page }, `All ${newest.length} versions`) : null,
      el("a", { href: `${page}/suggestions` }, "Worth labelling"), " Pictures that it has seen and is unsure about."));
}

function about(model) {
  const canary = model.versions.find((version) => version.canary);
  const parts = [many(model.versions.length, "version")];
  if (model.is_default) parts.push("answers requests that name no model");
  if (model.aliases.length) parts.push(`aliases ${model.aliases.join(", ")}`);
  if (canary) parts.push(`version ${canary.version} answers ${percent(canary.canary, 0)}`);
  return parts.join(" · ");
}

/** Return the models of the catalogue, each with one version. */
function catalogue(models) {
  const rows = models.flatMap((model) => model.versions.map((version) => row(model, version, { name: model.name })));
  return fold(`Catalogue (${models.length})`, el("div", { class: "card model" }, el("ul", { class: "versions" }, rows)));
}

$("content").append(list, el("div", { id: "import", "data-needs": "models" },
  group("Import a model", "A worker checks it before it answers; its page says how far that is.", importing())));
whenKeyed(load);
