// Webhooks: a ping of a receiver, the deliveries with how they ended, and the secret that signs them.
import { ROOT, call, get, pause } from "./api.js";
import { $, act, ago, button, el, empty, facts, fill, filter, group, many, pager, remember, sure, whenKeyed } from "./page.js";
import { showOnce } from "./secret.js";

const AGAIN = 4000; // milliseconds between two looks at the deliveries
const PAGE = 30;
const STATUSES = [["", "all"], ["WAITING", "waiting"], ["DELIVERED", "delivered"], ["FAILED", "failed"]];
const KINDS = [["", "all"], ["job", "jobs"], ["training", "trainings"], ["drift", "drift"]];
const LOOKS = { WAITING: "running", DELIVERED: "done", FAILED: "failed" }; // the colours of states
const OVERLAPS = [[86400, "for a day"], [3600, "for an hour"], [604800, "for a week"], [0, "not at all: end it now"]];
const rows = new Map(); // id -> the row of a delivery, which stays open while the delivery changes
const list = el("ul", { class: "card rows" });
const place = el("div");
const says = el("div", { "aria-live": "polite" });
const asked = { status: "", kind: "" };
let cursors = [""]; // of the pages up to the one that is shown
let round = 0;

/** Show the deliveries of the address, and look again until other ones are wanted. */
async function load() {
  const mine = ++round;
  let first;
  await fill(place, async () => { first = await fetched(); return first; }, written, load);
  while (first && mine === round) {
    await pause(AGAIN);
    while (document.hidden) {
      await new Promise((resolve) => { document.addEventListener("visibilitychange", resolve, { once: true }); });
    }
    if (mine !== round) return;
    try {
      const page = await fetched();
      if (mine === round) refresh(page);
    } catch { /* the service is away for a moment: what is shown stays */ }
  }
}

function fetched() {
  const query = new URLSearchParams({ limit: PAGE, cursor: cursors.at(-1) });
  for (const name of ["status", "kind"]) if (asked[name]) query.set(name, asked[name]);
  return get(`${ROOT}/v1/webhooks/deliveries?${query}`);
}

function written({ deliveries, next }) {
  rows.clear();
  const turn = (to) => { cursors = to; remember(asked, cursors); load(); scrollTo(0, 0); };
  if (!deliveries.length && cursors.length === 1) return nothing();
  list.replaceChildren(...deliveries.map((one) => new Row(one).place));
  return [list, pager(cursors, next, turn)];
}

/** Update the rows; new deliveries come in above them, unless one is being read. */
function refresh(page) {
  const fresh = page.deliveries.filter(({ id }) => !rows.has(id));
  if (fresh.length && !list.querySelector("details[open]") && !list.matches(":hover") && !list.contains(document.activeElement)) {
    place.replaceChildren(...[written(page)].flat().filter(Boolean));
    return;
  }
  for (const one of page.deliveries) rows.get(one.id)?.show(one);
}

/** A delivery, which opens to show all that is known of it. */
class Row {
  constructor(delivery) {
    this.head = el("summary", { class: "row delivery" });
    this.all = el("div", { class: "all" });
    this.says = el("div", { "aria-live": "polite" });
    const again = button("Send it again", this.says, async () => {
      this.show(await call("POST", `${ROOT}/v1/webhooks/deliveries/${this.delivery.id}/resend`));
    });
    this.place = el("li", {}, el("details", {}, this.head, el("div", { class: "inside" }, this.all, el("p", { class: "actions" }, again), this.says)));
    rows.set(delivery.id, this);
    this.show(delivery);
  }

  show(delivery) {
    this.delivery = delivery;
    const { host, pathname, search } = new URL(delivery.url);
    this.head.replaceChildren(
      el("span", { class: "what" }, el("b", {}, host), el("small", { title: delivery.url }, `${pathname}${search}`)),
      el("span", { class: "moves" }, el("span", {}, answered(delivery)), el("small", {}, tried(delivery))),
      el("span", { class: "when" }, el("span", { class: `state ${LOOKS[delivery.status] || ""}` }, delivery.status.toLowerCase()),
        el("small", {}, delivery.kind)));
    this.all.replaceChildren(facts([
      ["of", about(delivery)], ["sent to", delivery.url], ["attempts", delivery.attempts || "none yet"],
      ["last attempt", ago(delivery.last_attempt_at)], ["last answer", delivery.response_status ?? (delivery.attempts ? "none" : "")],
      ["error", delivery.error && delivery.error !== `answered ${delivery.response_status}` ? el("span", { class: "wrong" }, delivery.error) : ""],
      ["next attempt", delivery.next_attempt_at ? when(delivery.next_attempt_at) : ""], ["received", ago(delivery.delivered_at)],
      ["SHA-256 of the body", delivery.body_sha256 ? el("code", {}, delivery.body_sha256) : ""],
    ]));
  }
}

function answered({ response_status: status, error, attempts }) {
  if (error) return el("span", { class: "wrong", title: error }, error);
  return status ? `answered ${status}` : attempts ? "no answer yet" : "not sent yet";
}

function tried({ attempts, next_attempt_at: next, last_attempt_at: last }) {
  const count = attempts ? many(attempts, "attempt") : "";
  return next ? [count, count ? ", " : "", "next ", when(next)] : [count, count ? ", " : "", ago(last)];
}

/** Return when something is due: a moment that is not over. */
function when(iso) {
  const seconds = Math.round((new Date(iso) - Date.now()) / 1000);
  const words = seconds <= 1 ? "now" : seconds < 90 ? `in ${seconds} s` : `in ${Math.round(seconds / 60)} min`;
  return el("time", { datetime: iso, title: new Date(iso).toLocaleString() }, words);
}

/** Return the link to what the delivery is about. */
function about({ kind, id }) {
  const paths = { job: `/ui/jobs/${id}`, training: `/ui/trainings/${id}`, drift: "/ui/models" };
  const words = { job: "the job ", training: "the training ", drift: "the models: drift " };
  return el("a", { href: `${ROOT}${paths[kind] || "/ui/jobs"}` }, words[kind] || kind, el("code", {}, id));
}

function nothing() {
  if (asked.status || asked.kind) {
    return el("div", { class: "card empty" }, el("p", {}, "No delivery is like that."),
      el("button", { type: "button", onclick: () => choose({ status: "", kind: "" }) }, "Show all deliveries"));
  }
  return empty("Nothing was called back yet. Name a receiver with a picture, and it is called when the answer is there:",
    `curl -F files=@photo.jpg -F webhook=${location.protocol}//example.org/hook ${location.origin}${ROOT}/v1/jobs`);
}

/** Send all failed deliveries of the chosen kind again: the service does it, in one call unless there are very many. */
async function resendAll() {
  let [sent, cursor] = [0, ""];
  while (cursor != null) {
    const { deliveries, next } = await call("POST", `${ROOT}/v1/webhooks/deliveries/resend`, { json: { kind: asked.kind, cursor } });
    [sent, cursor] = [sent + deliveries, next];
    says.replaceChildren(el("p", { class: "calm" }, sent ? `${many(sent, "callback")} sent again.` : "None has failed."));
  }
  load();
}

// -- filters

const select = (name, label, choices) => filter(name, label, choices, choose);
const filters = el("form", { class: "filters two", role: "search", "aria-label": "Deliveries", onsubmit: (event) => event.preventDefault() },
  select("status", "Status", STATUSES), select("kind", "Of", KINDS),
  sure("Send all failed again", "Send every failed one again?", says, resendAll));

function choose(changed) {
  Object.assign(asked, changed);
  cursors = [""];
  remember(asked, cursors);
  show();
  load();
}

function recall() {
  const query = new URLSearchParams(location.search);
  const [status, kind, cursor] = ["status", "kind", "cursor"].map((name) => query.get(name) || "");
  asked.status = STATUSES.some(([value]) => value === status.toUpperCase()) ? status.toUpperCase() : "";
  asked.kind = KINDS.some(([value]) => value === kind) ? kind : "";
  cursors = history.state?.cursors || (cursor ? ["", cursor] : [""]);
  show();
}

function show() {
  for (const name of Object.keys(asked)) filters.elements[name].value = asked[name];
}

// -- a ping, and the secret

function pinging() {
  const came = el("div", { "aria-live": "polite" });
  const send = el("button", { type: "submit" }, "Ping");
  const submit = (event) => {
    event.preventDefault();
    const { url, secret } = event.target.elements;
    act(send, came, async () => {
      came.replaceChildren(el("p", { class: "calm" }, "Waiting for the answer …"));
      const json = { url: url.value.trim(), ...(secret.value ? { secret: secret.value } : {}) };
      const { received, response_status: status, milliseconds, error, signatures } = await call("POST", `${ROOT}/v1/webhooks/ping`, { json });
      const signed = signatures ? `with ${many(signatures, "signature")}` : "unsigned, as there is no secret";
      came.replaceChildren(el("p", { class: "came" }, el("span", { class: `state ${received ? "done" : "failed"}` }, received ? "received" : "not received"),
        el("span", {}, status == null ? error : `answered ${status}`, ` after ${milliseconds.toLocaleString("en")} ms, ${signed}.`)));
    });
  };
  return group("Try a receiver", "It is called once, as callbacks are: with a signed event of the type webhook.ping.",
    el("div", {}, el("form", { class: "card", onsubmit: submit }, // not right below: such forms are hidden without the scope `models`
      el("div", { class: "fields" },
        el("label", {}, "URL", el("input", { name: "url", type: "url", required: true, placeholder: "the address of the receiver" })),
        el("label", {}, "Secret", el("input", { name: "secret", type: "password", autocomplete: "off", placeholder: "that of the tenant" }))),
      el("p", { class: "actions" }, send), came)));
}

function rotating() {
  const secret = el("div", { "aria-live": "polite" });
  const came = el("div", { "aria-live": "polite" });
  const overlap = el("select", { name: "overlap" }, OVERLAPS.map(([value, words]) => el("option", { value }, words)));
  const rotate = async () => {
    const made = await call("POST", `${ROOT}/v1/webhooks/secret/rotate`, { json: { overlap: Number(overlap.value) } });
    const until = made.previous_until ? `The one before it signs as well until ${new Date(made.previous_until).toLocaleString()}.` : "The one before it signs no more.";
    showOnce(secret, "The new secret", made.secret, until);
  };
  const made = group("Change the secret", "It signs the callbacks of jobs and trainings that have none of their own. Receivers check it, and so know who calls.",
    secret, el("div", { class: "card" }, el("div", { class: "fields" }, el("label", {}, "The one before it signs as well", overlap)),
      el("p", { class: "actions" }, sure("Make a new secret", "Make it? It signs from now on", came, rotate)), came));
  made.dataset.needs = "keys";
  return made;
}

$("content").append(filters, says, place, pinging(), rotating());
addEventListener("popstate", () => { recall(); load(); });
recall();
whenKeyed(load);
