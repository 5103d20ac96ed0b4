// The same request as a command or a few lines of code, ready to run. The key is named by its variable, never written.

/** Return a text as one word of a shell. */
export function quote(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/**
 * Return [name, code] of each language for a request: `names` of files, or the `address` of a picture; `options` as
 * [name, value]; `keyed` if a key is sent; `base` is the address of the service. One picture is classified at once,
 * several become a job.
 */
export function snippets(request) {
  return [["curl", curl(request)], ["Python", python(request)], ["JavaScript", javascript(request)]];
}

function call({ base, names, address }) {
  return `${base}/v1/${address || names.length === 1 ? "classify" : "jobs"}`;
}

function curl(request) {
  const { names, address, options, keyed } = request;
  const lines = ["curl"];
  if (keyed) lines.push('-H "Authorization: Bearer $INFERQ_KEY"');
  if (address) lines.push("-H Content-Type:application/json", `-d ${quote(JSON.stringify(json(request)))}`);
  else {
    lines.push(...names.map((name) => `-F ${quote(`files=@${inForm(name)}`)}`));
    lines.push(...options.map(([name, value]) => `-F ${quote(`${name}=${value}`)}`));
  }
  return `${lines.join(" ")} \\\n${quote(call(request))}`;
}

/** Return a file name as curl reads it in a form, where some characters end a name. */
function inForm(name) {
  return /[;,"\\]/.test(name) ? `"${name.replace(/(["\\])/g, "\\$1")}"` : name;
}

function json({ address, options }) {
  return { inputs: [{ url: address }], ...Object.fromEntries(options) };
}

function python(request) {
  const { base, names, address, options, keyed } = request;
  if (address) {
    const headers = keyed ? ', headers={"Authorization": f"Bearer {os.environ[\'INFERQ_KEY\']}"}' : "";
    return [...(keyed ? ["import os", ""] : []), "import httpx", "",
      `answer = httpx.post(${JSON.stringify(call(request))}, json=${literal(json(request))}${headers}, timeout=60)`,
      'for label in answer.raise_for_status().json()["predictions"][0]["results"]:',
      '    print(label["label"], label["score"])'].join("\n");
  }
  const given = [...names.map((name) => JSON.stringify(name)), ...options.map(([name, value]) => `${name}=${literal(value)}`)];
  const key = keyed ? ', key=os.environ["INFERQ_KEY"]' : "";
  const sent = names.length === 1 ? [`    job = client.jobs.classify(${given.join(", ")})`]
    : [`    job = client.jobs.submit(${given.join(", ")})`, "    job = client.jobs.wait(job)"];
  return [...(keyed ? ["import os", ""] : []), "from inferq.client import Client", "",
    `with Client(${JSON.stringify(base)}${key}) as client:`, ...sent,
    "    for prediction in job.predictions:",
    "        for label in prediction.results:",
    "            print(prediction.name, label.label, label.score)"].join("\n");
}

/** Return a value as Python writes it. */
function literal(value) {
  if (value === true) return "True";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([name, each]) => `${JSON.stringify(name)}: ${literal(each)}`).join(", ")}}`;
  return JSON.stringify(value);
}

function javascript(request) {
  const { names, address, options, keyed } = request;
  const key = keyed ? "Authorization: `Bearer ${process.env.INFERQ_KEY}`" : "";
  const ask = (body, headers) => [
    `const response = await fetch(${JSON.stringify(call(request))}, {`, '  method: "POST",',
    ...(headers ? [`  headers: { ${headers} },`] : []), `  body${body},`, "});",
    "console.log(JSON.stringify(await response.json(), null, 2));"];
  if (address) {
    const headers = ['"Content-Type": "application/json"', key].filter(Boolean).join(", ");
    return ask(`: JSON.stringify(${JSON.stringify(json(request))})`, headers).join("\n");
  }
  return ['import { openAsBlob } from "node:fs";', "", "const body = new FormData();",
    ...names.map((name) => `body.append("files", await openAsBlob(${JSON.stringify(name)}), ${JSON.stringify(name)});`),
    ...options.map(([name, value]) => `body.append(${JSON.stringify(name)}, ${JSON.stringify(String(value))});`),
    ...ask("", key)].join("\n");
}
