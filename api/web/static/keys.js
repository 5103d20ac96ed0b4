// Keys and tenants: who may do what, and how much each tenant uses of what it may.
import { ROOT, call, get, key } from "./api.js";
import { $, act, ago, ahead, el, empty, fill, fold, group, many, sure, whenKeyed } from "./page.js";
import { showOnce } from "./secret.js";
import { showTenants } from "./tenants.js";

const SCOPES = [
  ["infer", "send pictures, and see the jobs, images and webhooks of the tenant"],
  ["models", "add, train, promote and remove models and datasets"],
  ["keys", "make and revoke keys, set limits, rotate the webhook secret"],
];
const USUAL = ["infer", "models"];
const STAGES = [["", "iq_, as usual"], ["live", "live_, for clients of IMG Processing"], ["test", "test_, which sees images of its own"]];
const DAY = 86400;
const LIFETIMES = [["", "until it is revoked"], [7 * DAY, "for a week"], [30 * DAY, "for 30 days"], [90 * DAY, "for 90 days"], [365 * DAY, "for a year"], ["day", "until a day …"]];
const SOON = 7 * DAY; // seconds before its expiry in which a key is marked, as in the diagnosis
const secret = el("div", { "aria-live": "polite" });
const list = el("div");
const form = el("div");
const tenants = el("div");

async function load() {
  let found;
  await fill(list, async () => {
    const [{ keys }, me] = await Promise.all([get(`${ROOT}/v1/keys`), get(`${ROOT}/v1/keys/current`)]);
    found = { keys, me };
    return found;
  }, written, load);
  form.replaceChildren();
  tenants.hidden = !found; // one error says it for all parts
  if (!found) return;
  form.replaceChildren(making(found));
  await showTenants(tenants, found.me.tenant === "default");
}

function written({ keys }) {
  const [valid, revoked] = [keys.filter((one) => !one.revoked_at), keys.filter((one) => one.revoked_at)];
  const past = revoked.length ? fold(many(revoked.length, "revoked key"), el("ul", { class: "card rows" }, revoked.map(row))) : null;
  if (!keys.length && key()) {
    return el("p", { class: "calm" }, "No key is stored yet. The one that is entered here is the admin key of the settings, or it was not checked: "
      + "without an admin key, requests from this machine need none until the first key exists.");
  }
  if (!keys.length) {
    return empty("No key yet: until the first one exists, every request from this machine may do anything. Make it below, or on the command line:",
      "inferq keys create --name owner");
  }
  return [valid.length ? el("ul", { class: "card rows" }, valid.map(row)) : el("p", { class: "calm" }, "No key is valid any more."), past];
}

function row(one) {
  const says = el("div", { class: "says", "aria-live": "polite" });
  const revoke = async () => { await call("DELETE", `${ROOT}/v1/keys/${one.id}`); await load(); };
  const revokeButton = one.revoked_at ? null : sure("Revoke", "Revoke it for good?", says, revoke);
  revokeButton?.setAttribute("aria-describedby", `key-${one.id}`);
  return el("li", { class: "row key-row" },
    el("span", { class: "what" }, el("b", { id: `key-${one.id}` }, one.name || "without a name"), el("small", {}, one.account || el("code", {}, `${one.prefix}…`))),
    el("span", { class: "moves" }, one.scopes.map((scope) => el("span", { class: "chip" }, scope))),
    el("span", { class: "of" }, one.tenant, el("small", {}, "made ", ago(one.created_at))),
    el("span", { class: "life" }, el("span", {}, one.last_used ? ["used ", ago(one.last_used)] : "never used"), ending(one)),
    el("span", { class: "when" }, revokeButton), says);
}

/** Return when a key was revoked or expires, marked where its users need another one. */
function ending({ revoked_at: revoked, expires }) {
  if (revoked) return el("small", {}, "revoked ", ago(revoked));
  if (!expires) return el("small", {}, "does not expire");
  const left = (new Date(expires) - Date.now()) / 1000;
  if (left <= 0) return el("small", { class: "wrong" }, el("b", {}, "expired "), ago(expires));
  return el("small", { class: left < SOON ? "soon" : false }, left < SOON ? el("b", {}, "expires soon, ") : "expires ", ahead(expires));
}

/** Return the form that makes a key. It gives no scope that the key of this tab lacks. */
function making({ keys, me }) {
  const isFirst = !keys.length && !key(); // with the admin key the door is closed already
  const scopes = SCOPES.map(([name, allows]) => tick(name, allows, me.scopes.includes(name), isFirst || USUAL.includes(name)));
  const known = el("datalist", { id: "tenants" }, [...new Set(keys.map((one) => one.tenant))].sort().map((value) => el("option", { value })));
  const tenant = me.tenant === "default" && !isFirst
    ? el("label", {}, "Tenant", el("input", { name: "tenant", list: "tenants", value: me.tenant, spellcheck: "false", autocomplete: "off" }), known) : null;
  const says = el("div", { "aria-live": "polite" });
  const day = el("label", { hidden: true }, "Its last day", el("input", { name: "day", type: "date", min: localDay(Date.now()) }));
  const choose = (event) => {
    day.hidden = event.target.value !== "day";
    day.firstElementChild.required = !day.hidden;
  };
  const lasts = isFirst ? null : [el("label", {}, "It is valid", el("select", { name: "lasts", onchange: choose },
    LIFETIMES.map(([value, words]) => el("option", { value }, words)))), day]; // the first one makes the others, and stays
  const send = el("button", { type: "submit" }, "Make the key");
  const submit = (event) => {
    event.preventDefault();
    act(send, says, () => make(new FormData(event.target), isFirst));
  };
  const made = el("form", { class: "card", onsubmit: submit },
    el("div", { class: "fields" },
      el("label", {}, "Name", el("input", { name: "name", placeholder: "what it is for", autocomplete: "off" })), tenant,
      el("label", {}, "Begins with", el("select", { name: "stage" }, STAGES.map(([value, words]) => el("option", { value }, words)))), lasts),
    el("fieldset", { class: "ticks" }, el("legend", {}, "It may"), scopes),
    isFirst ? el("p", { class: "calm" }, "It is the first key: from then on every request needs one.") : null,
    el("p", { class: "actions" }, send), says);
  return group("Make a key", "", el("div", {}, made)); // not right below: such forms are hidden without the scope `models`
}

function tick(name, allows, may, checked) {
  return el("label", { class: "tick" }, el("input", { type: "checkbox", name: "scopes", value: name, checked: may && checked, disabled: !may }),
    el("span", {}, el("b", {}, name), " ", el("small", {}, may ? allows : `${allows}; your key may not`)));
}

/** Return the end of a lifetime in RFC 3339: in so many seconds, or with the last day in the reader's time zone. */
function expiryOf(lasts, day) {
  if (!lasts) return null;
  return new Date(lasts === "day" ? `${day}T24:00:00` : Date.now() + lasts * 1000).toISOString();
}

function localDay(when) {
  return new Intl.DateTimeFormat("sv").format(when); // the notation of Swedish dates is that of date fields
}

async function make(fields, isFirst) {
  const scopes = fields.getAll("scopes");
  if (!scopes.length) throw new Error("Tick what the key may do.");
  const given = Object.fromEntries(["name", "tenant", "stage"].map((name) => [name, (fields.get(name) || "").trim()]).filter(([, value]) => value));
  const expires = expiryOf(fields.get("lasts"), fields.get("day"));
  const made = await call("POST", `${ROOT}/v1/keys`, { json: { ...given, scopes, ...(expires ? { expires } : {}) } });
  const use = el("button", { type: "button", onclick: () => {
    $("key").value = made.key;
    $("key").dispatchEvent(new Event("input")); // page.js keeps it in this tab, and has the page loaded anew
    use.remove();
  } }, "Use it in this tab");
  showOnce(secret, `The key ${made.name || made.prefix}`, made.key, isFirst ? "Every request needs a key now, those of this page too." : "", isFirst ? use : null);
  if (!isFirst) await load();
}

$("content").append(secret, list, form, tenants);
whenKeyed(load);
