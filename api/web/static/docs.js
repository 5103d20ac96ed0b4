// The page of the calls, built from /openapi.json: parameters, a curl command, and a form to try each call.
// Texts are inserted as text, never as markup: names of files and answers are untrusted.
import { ROOT, authorized, key, picture } from "./api.js";
import { $, bar, dropping, el, fold, words } from "./page.js";

const PAGES = "Pages"; // the tag of the pages, which are not listed as calls
const FORMS = ["multipart/form-data", "application/x-www-form-urlencoded"]; // whose Content-Type the browser writes

// -- the document

let components = {};

/** A schema with its reference followed. */
function follow(schema) {
  const name = schema && schema.$ref ? schema.$ref.split("/").pop() : "";
  return name ? components[name] || {} : schema || {};
}

function kindOf(schema) {
  const found = follow(schema);
  if (isFile(found)) return "file";
  if (found.anyOf) return found.anyOf.map(kindOf).filter((kind) => kind && kind !== "null").join(" or ");
  if (found.type === "array") return isFile(follow(found.items)) ? "files" : `list of ${kindOf(found.items)}`;
  return [].concat(found.type || "any").filter((kind) => kind !== "null").join(" or ");
}

function isFile(schema) {
  return schema.format === "binary" || Boolean(schema.contentMediaType);
}

/** Every input of a call from its path, query and headers, without options that its body has as well. */
function inputsOf(call, body) {
  const own = body ? follow(body.schema).properties || {} : {};
  const inputs = (call.parameters || []).map((parameter) => ({ ...parameter, schema: follow(parameter.schema) }));
  return inputs.filter(({ name, in: where }) => where !== "query" || !(name in own));
}

function bodiesOf(call) {
  return Object.entries((call.requestBody || {}).content || {}).map(([type, body]) => ({ type, ...body }));
}

// -- the list of parameters and answers

function row(name, schema, where, required) {
  const about = [kindOf(schema), where];
  const found = follow(schema);
  if (found.enum) about.push(found.enum.join(" | "));
  if (found.default !== undefined) about.push(`default ${found.default}`);
  const first = el("td", {}, el("code", {}, name), required ? el("span", { class: "must" }, " required") : "",
    el("span", { class: "type" }, about.filter(Boolean).join(" · ")));
  return el("tr", {}, first, el("td", {}, words(found.description)));
}

function parameterTable(call) {
  const body = bodiesOf(call)[0];
  const rows = inputsOf(call, body).map((input) =>
    row(input.name, { ...input.schema, description: input.description || input.schema.description },
      input.in, input.required));
  const schema = body ? follow(body.schema) : {};
  for (const [name, property] of Object.entries(schema.properties || {})) {
    rows.push(row(name, property, "body", (schema.required || []).includes(name)));
  }
  if (!rows.length) return null;
  const types = bodiesOf(call).map((one) => one.type);
  const note = types.length > 1 ? el("p", {}, "The body may be ", types.join(", "), ".") : null;
  return fold(`Parameters (${rows.length})`, el("table", {}, el("tbody", {}, rows)), note);
}

function answerTable(call) {
  const rows = Object.entries(call.responses).map(([status, response]) => {
    const types = Object.keys(response.content || {}).join(", ");
    return el("tr", {}, el("td", {}, status === "default" ? "else" : status),
      el("td", {}, words(response.description), types ? el("span", { class: "type" }, types) : ""));
  });
  return fold("Answers", el("table", { class: "answers" }, el("tbody", {}, rows)));
}

// -- trying a call

/** Return the request of a form: {method, url, headers, body, parts}; `parts` is for curl, which sends files by name. */
class Trial {
  constructor(path, method, call) {
    Object.assign(this, { path, method, call, bodies: bodiesOf(call), fields: [] });
    this.type = this.bodies.length ? this.bodies[0].type : "";
    this.grid = el("div", { class: "fields" });
    this.curl = el("pre");
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
    if (key() && !free(this.call)) parts.push('-H "Authorization: Bearer $INFERQ_KEY"');
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

function free(call) {
  return Array.isArray(call.security) && !call.security.length;
}

function quote(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

function squeezed(json) {
  try { return JSON.stringify(JSON.parse(json)); } catch { return json; }
}

/** Send the request and show the answer as it arrives; `files` are the pictures shown beside their labels. */
async function ask(place, url, options, files, brief = false) {
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
    await showText(place, response, type, files, brief);
  }
  said.append(`${Math.round(performance.now() - began)} ms`);
  for (const name of brief ? [] : ["Location", "Retry-After", "ETag"]) {
    if (response.headers.has(name)) said.append(el("span", {}, `${name}: ${response.headers.get(name)}`));
  }
}

async function showText(place, response, type, files, brief) {
  const raw = el("pre");
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
  place.append(...pictures.map((one, index) => bars(one, files.find((file) => file.name === one.name) || (pictures.length === files.length ? files[index] : null))));
  const problem = data.detail || data.error_description;
  if (problem && brief) place.append(el("p", { class: "wrong" }, problem));
  raw.textContent = JSON.stringify(data, null, 2);
  place.append(pictures.length || brief ? fold("The whole answer", raw) : raw);
}

/** Return the predictions in an answer of any wire: objects with a list of labels and scores, or with an error. */
function labelled(data) {
  if (Array.isArray(data)) return labelled({ predictions: [{ results: data }] });
  const list = Array.isArray(data.predictions) ? data.predictions : [];
  const rank = (one) => one.results || one.labels || [];
  return list.map((one) => ({ name: one.name || "", error: one.error, doubt: one.doubt, labels: rank(one), none: one.results && !one.results.length,
    explanation: one.explanation }))
    .filter((one) => one.error || one.none || one.labels.some((label) => "score" in label));
}

function bars({ name, labels, error, doubt, none, explanation }, file) {
  const rows = labels.map(({ label, score }) => bar(label, score, score.toFixed(3)));
  const shown = file && /\.(jpe?g|png|gif|webp|bmp|avif)$/i.test(file.name)
    ? el("img", { src: URL.createObjectURL(file), alt: "" }) : null;
  const wrong = error ? el("p", { class: "wrong" }, error.message || String(error))
    : none ? el("p", {}, "no label above its threshold")
      : doubt ? el("p", { class: "wrong" }, `not believed: ${doubt.message}`) : null;
  return el("div", { class: shown ? "picture" : "picture bare" }, shown,
    el("div", {}, el("p", { class: "name" }, name), rows, wrong, explanation ? explained(explanation) : null));
}

/** Return the heat map of an explanation, fetched with the key, or the reason why there is none. */
function explained({ label, link, reason }) {
  if (!link) return el("p", {}, `not explained: ${reason}`);
  const place = el("figure", { class: "explained" }, el("figcaption", {}, `the evidence for ${label}`));
  picture(link).then((src) => place.prepend(el("img", { src, alt: `The picture, hot where the evidence for ${label} lies` })))
    .catch((problem) => place.append(el("p", { class: "wrong" }, problem.message)));
  return place;
}

// -- the page

/** The calls of a tag; one that is served at several paths is one call, with the others named below its first. */
function callsOf(spec, tag) {
  const found = new Map();
  for (const [path, entry] of Object.entries(spec.paths)) {
    for (const [method, call] of Object.entries(entry)) {
      if (!call.tags.includes(tag)) continue;
      const same = `${method} ${call.summary} ${call.description}`;
      if (found.has(same)) found.get(same).others.push(path);
      else found.set(same, { path, method, call, others: [] });
    }
  }
  return [...found.values()];
}

function section({ path, method, call, others }, id) {
  const trial = new Trial(path, method, call);
  document.addEventListener("inferq-key", () => trial.tell());
  const copy = el("button", { class: "quiet copy", type: "button" }, "Copy");
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(trial.curl.textContent);
    copy.textContent = "Copied";
    setTimeout(() => { copy.textContent = "Copy"; }, 1500);
  });
  const send = el("button", { type: "submit" }, "Send");
  const submit = (event) => { event.preventDefault(); trial.send(send); };
  const tryOut = fold("Try it", el("form", { onsubmit: submit }, trial.grid, send), trial.answer);
  tryOut.classList.add("try");
  const where = path.split(/(\{\w+\})/).map((part) => (part.startsWith("{") ? el("i", {}, part) : part));
  return el("section", { class: "card call", id },
    call.summary.endsWith(path) ? null : el("h3", {}, call.summary),
    el("div", { class: "route" }, el("span", { class: `method ${method}` }, method.toUpperCase()), el("span", { class: "path" }, where)),
    call.description && call.description !== `${call.summary}.` ? el("p", {}, words(call.description)) : null,
    others.length ? el("p", { class: "others" }, "Also at ", others.flatMap((one, index) => [index ? ", " : "", el("code", {}, one)])) : null,
    el("div", { class: "curl" }, trial.curl, copy),
    el("div", { class: "folds" },
      tryOut,
      parameterTable(call), answerTable(call)));
}

function build(spec) {
  components = (spec.components || {}).schemas || {};
  $("about").append(...words(spec.info.description));
  for (const tag of spec.tags.filter(({ name }) => name !== PAGES)) {
    const links = [];
    const calls = [];
    for (const found of callsOf(spec, tag.name)) {
      const { summary, operationId } = found.call;
      const named = summary.endsWith(found.path) ? el("span", { class: "path" }, summary) : summary;
      links.push(el("li", {}, el("a", { href: `#${operationId}` }, named)));
      calls.push(section(found, operationId));
    }
    $("calls").append(el("details", { open: links.length < 15 }, el("summary", {}, tag.name), el("ul", {}, links)));
    $("groups").append(el("div", { class: "group" }, el("h2", {}, tag.name), el("p", {}, words(tag.description)), calls));
  }
  const wanted = location.hash && $(decodeURIComponent(location.hash.slice(1)));
  if (wanted) wanted.scrollIntoView();
  followReader();
}

/** Mark the visible call in the list. */
function followReader() {
  const links = new Map([...document.querySelectorAll("#calls a")].map((link) => [link.hash.slice(1), link]));
  const watch = new IntersectionObserver((seen) => {
    for (const { target, isIntersecting } of seen) links.get(target.id).classList.toggle("here", isIntersecting);
  }, { rootMargin: "-20% 0px -75% 0px" });
  document.querySelectorAll(".call").forEach((call) => watch.observe(call));
}

function quick(files) {
  if (!files.length) return;
  const form = new FormData();
  for (const file of files) form.append("files", file);
  $("quick-answer").replaceChildren(el("div", { class: "said" }, "looking …"));
  ask($("quick-answer"), `${ROOT}/v1/classify`, { method: "POST", body: form }, [...files], true);
}

dropping($("drop"), quick);
fetch(`${ROOT}/openapi.json`).then((response) => response.json()).then(build)
  .catch((error) => $("groups").append(el("p", { class: "wrong" }, `The calls cannot be listed: ${error.message}`)));
