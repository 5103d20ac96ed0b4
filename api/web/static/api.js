// Calls to the service. The key is kept in this tab, and sent in a header only, as addresses end up in logs.

/** The path below which the service answers, such as "/vision"; empty unless a proxy serves it below a path. */
export const ROOT = document.documentElement.dataset.root;
const KEPT = "inferq-key";
const AGAIN = 2000; // milliseconds between two polls, if no event stream is available

/** The error of a call, with a message for users; `status` is 0 and `code` empty if there was no answer of the service. */
export class Problem extends Error {
  constructor(status, message, code = "") {
    super(message);
    Object.assign(this, { status, code });
  }
}

export function key() {
  return sessionStorage.getItem(KEPT) || "";
}

export function keep(value) {
  sessionStorage.setItem(KEPT, value);
}

/** Return the headers, with the key if there is one. */
export function authorized(headers = {}) {
  return key() ? { ...headers, Authorization: `Bearer ${key()}` } : headers;
}

/** Return the answer to a GET; with `wait` the service may hold it for that many seconds. */
export function get(path, { wait, signal } = {}) {
  return call("GET", path, { wait, signal });
}

/** Return the answer to a call as JSON; null if it is empty. Throws Problem. */
export async function call(method, path, { json, wait, signal } = {}) {
  const headers = authorized({
    ...(json ? { "Content-Type": "application/json" } : {}), ...(wait ? { Prefer: `wait=${wait}` } : {}),
  });
  const response = await answered(path, { method, headers, body: json && JSON.stringify(json), signal });
  const text = await response.text();
  return text ? JSON.parse(text) : null;
}

/** Send a form and return the answer; `seen` is called with the share of bytes that were sent. Throws Problem. */
export function upload(path, form, seen) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch reports no progress of an upload
    request.open("POST", path);
    for (const [name, value] of Object.entries(authorized())) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", (event) => seen(event.loaded / event.total));
    request.addEventListener("error", () => reject(new Problem(0, "The connection broke before the upload ended.")));
    request.addEventListener("load", () => {
      if (request.status < 400) resolve(JSON.parse(request.responseText));
      else reject(refusal(request.status, request.statusText, request.responseText));
    });
    request.send(form);
  });
}

/** Return the objects of an answer in NDJSON. Throws Problem. */
export async function lines(path, signal) {
  const response = await answered(path, { headers: authorized(), signal });
  return (await response.text()).split("\n").filter(Boolean).map((line) => JSON.parse(line));
}

/** Return the blob: address of a picture that needs the key; "" if the answer is empty. Throws Problem. */
export async function picture(path, signal) {
  const response = await answered(path, { headers: authorized(), signal });
  if (response.status === 204) return "";
  return URL.createObjectURL(await response.blob());
}

/**
 * Let the browser itself save a file in a format under a name, by a signed link, which needs no key; however large it is,
 * this page holds nothing of it. Return the link. Throws Problem.
 */
export async function download(path, format, name) {
  const { url } = await call("POST", `${path}/link`, { json: { format } });
  const link = Object.assign(document.createElement("a"), { href: url, download: name, textContent: name });
  link.click();
  return link;
}

/** Call `seen` with each state of a job or training until it has ended: by the event stream, or by polling if none is free. */
export async function follow(path, seen, signal) {
  while (!signal.aborted) {
    try {
      for await (const news of stream(`${path}/events`, signal)) {
        seen(news);
        if (news.terminal) return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Problem && ![0, 429, 503].includes(error.status)) throw error;
    }
    await pause(AGAIN, signal);
    const news = await patient(() => get(path, { signal }), signal);
    if (news) seen(news);
    if (news && news.terminal) return;
  }
}

/** Yield the data of each server-sent event. EventSource cannot be used: it sends no header, hence no key. */
async function* stream(path, signal) {
  const response = await answered(path, { headers: authorized({ Accept: "text/event-stream" }), signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
      const events = (rest + piece.value).split("\n\n");
      rest = events.pop();
      for (const event of events) {
        const data = event.split("\n").find((line) => line.startsWith("data: "));
        if (data) yield JSON.parse(data.slice("data: ".length));
      }
    }
  } finally {
    reader.cancel().catch(() => {}); // the reader of the events may leave before their end
  }
}

/** Return the result of `ask`; null if the service is unavailable or busy. */
async function patient(ask, signal) {
  try {
    return await ask();
  } catch (error) {
    if (signal.aborted || (error instanceof Problem && [0, 429, 503].includes(error.status))) return null;
    throw error;
  }
}

export function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    if (signal) signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}

async function answered(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, `The service does not answer: ${error.message}`);
  }
  if (!response.ok) throw refusal(response.status, response.statusText, await response.text());
  return response;
}

function refusal(status, title, text) {
  let told = {};
  try { told = JSON.parse(text); } catch { /* a proxy's page, or nothing */ }
  return new Problem(status, told.detail || `${status} ${title}`, told.code);
}
