// The form that tries a call of the reference, and the answer to it.
// Texts are inserted as text, never as markup: names of files and answers are untrusted.
import { ROOT, authorized, key } from "./api.js";
import { bodiesOf, follow, inputsOf, isFile, isFree } from "./openapi.js";
import { el, fold, verbatim } from "./page.js";
import { shownAs } from "./pictures.js";
import { answer, heatMap } from "./prediction.js";
import { quote } from "./snippets.js";

const FORMS = ["multipart/form-data", "application/x-www-form-urlencoded"]; // whose Content-Type the browser writes

/** The form of a call, the curl command that it comes to, and the answer to what was sent. */
export class Trial {
  constructor(path, method, call) {
    Object.assign(this, { path, method, call, bodies: bodiesOf(call), fields: [] });
    this.type = this.bodies.length ? this.bodies[0].type : "";
    this.grid = el("div", { class: "fields" });
    this.curl = verbatim("The command");
    this.answer = el("div", { class: "answer", "aria-live": "polite" });
    this.draw();
  }

  draw() {
    const body = this.bodies.find((one) => one.type === this.type);
    const inputs = inputsOf(this.call, body);
    this.fields = [];
    const add = (input) => {
      this.fields.push(this.field(input.name, input.in, input.schema, input.required));
      return this.fields.at(-1).label;
    };
    // Headers last: they can be left out, and the body has what a call is about.
    const labels = inputs.filter((input) => input.in !== "header").map(add);
    if (this.bodies.length > 1) labels.push(this.chooser());
    if (body) labels.push(...this.bodyFields(body));
    labels.push(...inputs.filter((input) => input.in === "header").map(add));
    this.grid.replaceChildren(...labels);
    this.tell();
  }

  chooser() {
    const options = this.bodies.map(({ type }) => el("option", { value: type, selected: type === this.type }, type));
    const choose = (event) => { this.type = event.target.value; this.draw(); };
    return el("label", {}, "body as", el("select", { onchange: choose }, options));
  }

  bodyFields(body) {
    const schema = follow(body.schema);
    const begun = this.fields.length;
    if (isFile(schema)) this.fields.push(this.field("body", "raw", schema, true));
    else if (body.type.includes("json")) {
      const input = el("textarea", { spellcheck: "false", oninput: () => this.tell() });
      input.value = JSON.stringify(body.example || {}, null, 2);
      this.fields.push({ name: "body", where: "json", input, label: el("label", { class: "wide" }, "body", input) });
    } else {
      for (const [name, property] of Object.entries(schema.properties || {})) {
        this.fields.push(this.field(name, "form", property, (schema.required || []).includes(name)));
      }
    }
    return this.fields.slice(begun).map((one) => one.label);
  }

  field(name, where, schema, required) {
    const found = follow(schema);
    const many = found.type === "array";
    const file = isFile(many ? follow(found.items) : found);
    const tell = () => this.tell();
    const choices = found.enum || (found.type === "boolean" ? ["true", "false"] : null);
    const hint = found.default !== undefined ? String(found.default) : "";
    let input;
    if (choices) {
      const none = el("option", { value: "" }, hint || "–");
      input = el("select", { onchange: tell }, none, choices.map((one) => el("option", { value: one }, one)));
    } else if (file) input = el("input", { type: "file", multiple: many, onchange: tell });
    else {
      input = el("input", { type: "text", placeholder: hint, spellcheck: "false", autocomplete: "off", oninput: tell });
      if (required) input.value = hint;
    }
    const label = el("label", { class: file ? "wide" : false }, name + (required ? " *" : ""), input);
    const example = (found.examples || (many && follow(found.items).examples) || [])[0] || name;
    return { name, where, input, file, required, label, example };
  }

  /** [field, value] of what is filled in; a field of files gives each of them. */
  *given(where) {
    for (const field of this.fields.filter((one) => one.where === where)) {
      for (const value of field.file ? field.input.files : [field.input.value]) {
        if (value !== "") yield [field, value];
      }
    }
  }

  url() {
    let path = ROOT + this.path;
    for (const [field, value] of this.given("path")) path = path.replace(`{${field.name}}`, encodeURIComponent(value));
    const query = new URLSearchParams([...this.given("query")].map(([field, value]) => [field.name, value]));
    return path + (query.size ? `?${query}` : "");
  }

  headers() {
    const headers = Object.fromEntries([...this.given("header")].map(([field, value]) => [field.name, value]));
    if (this.type && !FORMS.includes(this.type)) headers["Content-Type"] = this.type;
    return headers;
  }

  body() {
    if (FORMS.includes(this.type)) {
      const form = this.type === FORMS[0] ? new FormData() : new URLSearchParams();
      for (const [field, value] of this.given("form")) form.append(field.name, value);
      return form;
    }
    for (const [, value] of [...this.given("json"), ...this.given("raw")]) return value;
    return undefined;
  }

  /** Write the curl line. It names the key by its variable, so that a copied line carries no secret. */
  tell() {
    const parts = ["curl"];
    const files = this.fields.some((field) => field.where === "form" || field.where === "json" || field.where === "raw");
    if (this.method !== "get" && !(this.method === "post" && files)) parts.push(`-X ${this.method.toUpperCase()}`);
    if (key() && !isFree(this.call)) parts.push('-H "Authorization: Bearer $INFERQ_KEY"');
    for (const [name, value] of Object.entries(this.headers())) parts.push(`-H ${quote(`${name}: ${value}`)}`);
    const form = this.fields.filter((one) => one.where === "form");
    const nothing = !form.some((one) => (one.file ? one.input.files.length : one.input.value && !one.required));
    const flag = this.type === FORMS[1] ? "--data-urlencode" : "-F";
    for (const field of this.fields) {
      if (field.where === "form" && field.file) {
        const names = [...field.input.files].map((file) => file.name);
        const first = nothing && form.find((one) => one.file) === field;
        if (!names.length && (field.required || first)) names.push(field.example);
        for (const name of names) parts.push(`-F ${quote(`${field.name}=@${name}`)}`);
      } else if (field.where === "form" && (field.input.value || field.required)) {
        parts.push(`${flag} ${quote(`${field.name}=${field.input.value || field.name.toUpperCase()}`)}`);
      } else if (field.where === "json") parts.push(`-d ${quote(squeezed(field.input.value))}`);
      else if (field.where === "raw") parts.push(`--data-binary ${quote(`@${field.input.files.length ? field.input.files[0].name : field.example}`)}`);
    }
    const url = location.origin + this.url().replace(/\{(\w+)\}/g, (_, name) => name.toUpperCase());
    parts.push(/[?&]/.test(url) ? quote(url) : url);
    this.curl.textContent = parts.join(" ");
  }

  async send(button) {
    const missing = this.fields.find((field) => field.required && !(field.file ? field.input.files.length : field.input.value));
    if (missing) { missing.input.focus(); return; }
    button.disabled = true;
    this.answer.replaceChildren(el("div", { class: "said" }, "waiting …"));
    try {
      const files = this.fields.filter((field) => field.file).flatMap((field) => [...field.input.files]);
      await ask(this.answer, this.url(), { method: this.method.toUpperCase(), headers: this.headers(), body: this.body() }, files);
    } finally {
      button.disabled = false;
    }
  }
}

function squeezed(json) {
  try { return JSON.stringify(JSON.parse(json)); } catch { return json; }
}

/** Send the request and show the answer as it arrives; `files` are the pictures shown beside their labels. */
async function ask(place, url, options, files) {
  const began = performance.now();
  let response;
  try {
    response = await fetch(url, { ...options, headers: authorized(options.headers) });
  } catch (error) {
    place.replaceChildren(el("p", { class: "wrong" }, `No answer: ${error.message}`));
    return;
  }
  const said = el("div", { class: response.ok ? "said" : "said bad" }, el("b", {}, `${response.status} ${response.statusText}`));
  place.replaceChildren(said);
  const type = response.headers.get("Content-Type") || "";
  if (type.startsWith("image/") && response.ok) {
    place.append(el("img", { src: URL.createObjectURL(await response.blob()), alt: "The picture of the answer" }));
  } else {
    await showText(place, response, type, files);
  }
  said.append(`${Math.round(performance.now() - began)} ms`);
  for (const name of ["Location", "Retry-After", "ETag"]) {
    if (response.headers.has(name)) said.append(el("span", {}, `${name}: ${response.headers.get(name)}`));
  }
}

async function showText(place, response, type, files) {
  const raw = verbatim("The answer");
  const reader = response.body ? response.body.pipeThrough(new TextDecoderStream()).getReader() : null;
  if (!/json$|json;/.test(type)) place.append(raw);
  let text = "";
  for (let piece = reader && (await reader.read()); piece && !piece.done; piece = await reader.read()) {
    text += piece.value;
    raw.textContent = text;
  }
  let data;
  try { data = JSON.parse(text); } catch { if (!text) raw.remove(); return; }
  const pictures = labelled(data);
  const fileOf = (one, index) => files.find((file) => file.name === one.name) || (pictures.length === files.length && files[index]);
  place.append(...pictures.map((one, index) => pictured(one, fileOf(one, index))));
  raw.textContent = JSON.stringify(data, null, 2);
  place.append(pictures.length ? fold("The whole answer", raw) : raw);
}

/** Return the predictions in an answer of any wire: objects with a list of labels and scores, or with an error. */
function labelled(data) {
  if (Array.isArray(data)) return labelled({ predictions: [{ results: data }] });
  const list = Array.isArray(data.predictions) ? data.predictions : [];
  return list.map((one) => ({ ...one, results: one.results || one.labels }))
    .filter(({ error, results }) => error || (results && results.every((label) => "score" in label)));
}

function pictured(prediction, file) {
  const src = file && shownAs(file);
  return el("div", { class: src ? "picture" : "picture bare" }, src ? el("img", { src, alt: "" }) : null,
    el("div", {}, el("p", { class: "name" }, prediction.name || ""), answer(prediction, (score) => score.toFixed(3)),
      prediction.explanation ? heatMap(prediction.explanation) : null));
}
