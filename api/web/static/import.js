// The import of a model: weights by drop or choice, and every option that the API has, read from its own document.
import { ROOT, upload } from "./api.js";
import { act, dropping, el, fold, moving, words } from "./page.js";
import { bodiesOf, follow, keep } from "./openapi.js";
import { versionPage } from "./versions.js";

const NAME = "[A-Za-z0-9][A-Za-z0-9._\\-]{0,99}";
const FIRST = ["name", "architecture", "version", "state_key"];
const GROUPS = [ // title, options; what the API has besides comes last
  ["Labels", ["labels", "problem_type", "threshold"]],
  ["Preprocessing", ["preprocessing", "resize", "crop", "mean", "std", "interpolation", "mode", "crop_mode", "channel_order",
    "scale", "crop_offset", "background", "color_profile"]],
  ["What it does not know", ["reject_below_precision", "reject_on", "unknown_label"]],
];
const FILES = { labels: ".txt,.json,.csv", preprocessing: ".json" }; // options that may be a file instead
const APART = ["weights", "check", "check_label"];

/** Return the card of an import: the drop area, and after a choice its options. */
export function importing() {
  const file = el("input", { type: "file" });
  const area = el("label", { class: "drop" }, file, el("strong", {}, "Drop weights here"),
    el("span", {}, "or choose a file: .safetensors, .pth, .ckpt, .onnx, .mar, or a zip of a folder of timm, transformers or an export"));
  const place = el("div", { class: "importing" });
  dropping(area, ([chosen]) => act(file, place, async () => {
    const form = options(chosen, await properties());
    place.replaceChildren(form);
    form.elements.name.focus();
  }));
  return el("div", { class: "card create" }, area, place);
}

/** Return name -> schema of each field of an import. */
async function properties() {
  const response = await fetch(`${ROOT}/openapi.json`);
  const document = await response.json();
  keep(document);
  const body = bodiesOf(document.paths["/v1/models"].post).find(({ type }) => type.startsWith("multipart/"));
  return follow(body.schema).properties;
}

function options(weights, schemas) {
  const grouped = [...FIRST, ...APART, ...GROUPS.flatMap(([, names]) => names)];
  const rest = Object.keys(schemas).filter((name) => !grouped.includes(name));
  const fields = (names) => el("div", { class: "fields" }, names.filter((name) => schemas[name]).map((name) => field(name, schemas[name])));
  const says = el("div", { class: "sends", "aria-live": "polite" });
  const send = el("button", { type: "submit" }, "Import");
  const checks = checking();
  const folds = [...GROUPS, ...(rest.length ? [["More", rest]] : [])].map(([title, names]) => fold(title, fields(names)));
  const submit = (event) => {
    event.preventDefault();
    act(send, says, () => begin(form, weights, schemas, says).catch((error) => {
      mark(form, error.message);
      throw error;
    }));
  };
  const form = el("form", { onsubmit: submit }, el("p", { class: "chosen" }, el("b", {}, weights.name)), fields(FIRST),
    el("div", { class: "folds" }, folds, fold("Check pictures", checks)), el("p", { class: "actions" }, send), says);
  form.elements.name.value = proposed(weights.name);
  form.addEventListener("invalid", ({ target }) => unfold(target), true); // a browser cannot point at what is folded
  return form;
}

/** Return a name for a model after that of its file. */
function proposed(file) {
  return file.replace(/\.(zip|safetensors|pth|pt|ckpt|onnx|mar)$/i, "").replace(/[^A-Za-z0-9._-]+/g, "-")
    .replace(/^[^A-Za-z0-9]+/, "").slice(0, 100);
}

/** Return the field of an option, with what the document says of it. */
function field(name, schema) {
  const id = `about-${name}`;
  const shared = { name, "aria-describedby": id, autocomplete: "off", spellcheck: "false" };
  const title = name.replaceAll("_", " ");
  const input = schema.enum ? el("select", shared, ["", ...schema.enum].map((one) => el("option", { value: one }, one || "as the file says")))
    : name === "labels" ? el("textarea", { ...shared, rows: 4 })
      : el("input", { ...shared, type: "text", required: name === "name", pattern: name === "name" && NAME });
  const file = FILES[name] && el("label", {}, `or a file of ${title}`, el("input", { type: "file", name, accept: FILES[name] }));
  return el("div", { class: `option${file ? " wide" : ""}` }, el("label", {}, title, input),
    el("small", { id }, words(schema.description)), file);
}

/** Return the field for pictures that the model must label as is said of them. */
function checking() {
  const list = el("div");
  const file = el("input", { type: "file", name: "check", multiple: true, accept: "image/*" });
  file.addEventListener("change", () => list.replaceChildren(...[...file.files].map((picture) =>
    el("label", {}, picture.name, el("input", { type: "text", name: "check_label", required: true, autocomplete: "off", placeholder: "its label" })))));
  return el("div", { class: "fields checks" }, el("label", { class: "wide" }, "pictures that it must label rightly, else it is refused", file), list);
}

/** Send the form, then go to the page of the version, which says how far its check is. */
async function begin(form, weights, schemas, says) {
  form.querySelectorAll("[aria-invalid]").forEach((one) => one.removeAttribute("aria-invalid"));
  const given = new FormData();
  for (const input of form.querySelectorAll("[name]")) {
    if (input.type === "file") for (const file of input.files) given.append(input.name, file);
    else if (input.value.trim()) given.append(input.name, input.value.trim());
  }
  for (const name of Object.keys(FILES)) { // a file stands for its text
    const file = given.getAll(name).find((one) => one instanceof File);
    if (file) given.set(name, file);
  }
  given.append("weights", weights);
  const tell = (share) => {
    const now = share < 1 ? `Uploading ${weights.name}` : "Uploaded; a worker is checking it …";
    says.replaceChildren(...moving(now, share, "Progress of the upload"));
  };
  tell(0);
  location.assign(versionPage(await upload(`${ROOT}/v1/models`, given, tell)));
}

/** Mark the options that a refusal names, and show the first of them. */
function mark(form, message) {
  const named = [...form.querySelectorAll("[name]")].filter(({ name, type }) =>
    type !== "file" && name !== "name" && new RegExp(`\\b${name}\\b`).test(message));
  named.forEach((input) => input.setAttribute("aria-invalid", "true"));
  const [first] = named;
  if (!first) return;
  unfold(first);
  first.focus();
}

function unfold(input) {
  const folded = input.closest("details");
  if (folded) folded.open = true;
}
