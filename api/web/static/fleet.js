// The fleet: what is wrong with its cure, what waits, the workers, and charts of the last hour or day.
import { ROOT, get, pause } from "./api.js";
import { chart, histogram } from "./charts.js";
import { $, ago, bytes, el, facts, heads, many, stat, state, trouble, whenKeyed, words } from "./page.js";

const AGAIN = 5000; // milliseconds between two looks
const FEWEST = 10; // points of a chart
const SELDOM = 6; // looks between two at the history, whose points are a minute long
const SPANS = [["hour", "Last hour"], ["day", "Last day"]];
const SIZES = [1, 2, 4, 8, 16, 32, 64, 128]; // the largest batches of each column
const parts = Object.fromEntries(["diagnosis", "now", "workers", "charts"].map((name) => [name, el("div")]));
const depth = el("p");
const waits = el("div", { class: "card wide", tabindex: 0, role: "region", "aria-label": "Queue" }); // it keeps focus and place
let span = new URLSearchParams(location.search).get("span") === "day" ? "day" : "hour";
let round = 0;

async function load() {
  const mine = ++round;
  rest.hidden = true;
  parts.diagnosis.replaceChildren(el("p", { class: "calm" }, "Loading …"));
  for (let turn = 0; mine === round; turn += 1) {
    const failed = (await Promise.all([
      look(parts.diagnosis, "/v1/diagnosis", wrong),
      look(depth, "/v1/queue?by=tenant", queue),
      look(parts.workers, "/v1/workers", fleet),
      turn % SELDOM ? null : look(parts.charts, `/v1/history?span=${span}`, drawn),
    ])).find(Boolean);
    if (mine !== round) return;
    rest.hidden = Boolean(failed); // one error says it for all parts
    if (failed) {
      parts.diagnosis.replaceChildren(trouble(failed, load));
      turn = -1; // the charts may be missing: they are looked at when the service is back
    }
    await pause(AGAIN);
    while (document.hidden) {
      await new Promise((resolve) => { document.addEventListener("visibilitychange", resolve, { once: true }); });
    }
  }
}

/** Fill a part with what a call answers, unless it is being read; return the error, if there is one. */
async function look(place, path, write) {
  try {
    const found = await get(ROOT + path);
    if (!place.contains(document.activeElement) && !place.matches(":has(figure:hover)")) place.replaceChildren(...[write(found)].flat());
    return null;
  } catch (error) {
    return error;
  }
}

/** Return what is wrong with its cure, what keeps pictures from being answered first. */
function wrong({ checks }) {
  const found = ["failed", "warning"].flatMap((verdict) => checks.filter((check) => check.verdict === verdict));
  if (!found.length) return el("p", { class: "fine" }, el("span", { class: "state done" }, "Nothing is wrong."));
  return el("ul", { class: "card rows checks" }, found.map(({ part, verdict, found: what, cure }) => el("li", { class: "check" },
    el("span", { class: `state ${verdict === "failed" ? "failed" : "warned"}` }, verdict),
    el("div", {}, el("p", {}, el("b", {}, part), `: ${what}`), el("p", { class: "calm" }, words(cure))))));
}

function now({ recent }) {
  const each = (count) => rate(count / recent.seconds);
  const { latency } = recent;
  return el("div", { class: "stats" },
    stat(each(recent.answered), "answered per second", `${each(recent.arrived)} arrive`),
    stat(latency ? time(latency.p50) : "–", "for half of the pictures", "from the queue to the answer"),
    stat(latency ? time(latency.p95) : "–", "for 95 %", latency ? `${time(latency.p99)} for 99 %` : "no picture was answered"),
    stat((recent.waiting ?? 0).toLocaleString("en"), "waited at most", `${(recent.failed).toLocaleString("en")} failed`));
}

/** Return the points from the first on in which the service ran, so that a young one fills its charts; some at least. */
function sampled(points) {
  const first = points.findIndex((point) => point.workers != null || point.answered);
  return points.slice(Math.min(first < 0 ? 0 : first, Math.max(0, points.length - FEWEST)));
}

function drawn(found) {
  parts.now.replaceChildren(now(found));
  const points = sampled(found.points);
  const times = points.map((point) => point.at);
  const per = (name) => points.map((point) => (point.workers == null && !point.answered ? null : point[name] / point.seconds));
  const of = (name) => points.map((point) => point.latency?.[name] ?? null);
  const whose = found.tenants === "all" ? "of all tenants" : "of this key's tenant";
  return [el("p", { class: "calm" }, `Pictures ${whose}.`),
    el("div", { class: "card charts" },
      chart({ title: "Pictures per second", times, written: rate, lines: [
        { name: "arrived", kind: "second", values: per("arrived") }, { name: "answered", kind: "first", values: per("answered") }] }),
      chart({ title: "Time to the answer", times, written: time, lines: [
        { name: "99 %", kind: "third", values: of("p99") }, { name: "95 %", kind: "second", values: of("p95") },
        { name: "half", kind: "first", values: of("p50") }] }),
      chart({ title: "Waiting pictures", times, written: amount, lines: [
        { name: "waiting", kind: "first", values: points.map((point) => point.waiting) }] }),
      chart({ title: "Workers", times, written: amount, lines: [
        { name: "running", kind: "first", values: points.map((point) => point.workers) }] }),
      histogram({ title: "Batch sizes", unit: "pictures", bars: sized(found.batches),
        about: "Pictures by the size of the batch that they ran in." }),
      chart({ title: "Failed pictures", times, written: amount, lines: [
        { name: "failed", kind: "wrong", values: points.map((point) => (point.workers == null && !point.answered ? null : point.failed)) }] }))];
}

const spans = SPANS.map(([value, label]) => el("button", {
  type: "button", class: "quiet", "aria-pressed": String(value === span), onclick: () => choose(value) }, label));

function choose(value) {
  span = value;
  spans.forEach((one, index) => one.setAttribute("aria-pressed", String(SPANS[index][0] === span)));
  history.replaceState(null, "", value === "hour" ? location.pathname : `?span=${value}`);
  parts.charts.replaceChildren();
  look(parts.charts, `/v1/history?span=${span}`, drawn); // if it fails, the next look says so
}

/** Return the pictures by the size of their batch, in columns up to 1, 2, 4 … pictures. */
function sized(batches) {
  const columns = SIZES.map((most, index) => ({
    name: index === SIZES.length - 1 ? `${SIZES[index - 1] + 1}+` : String(most),
    count: batches.filter(({ size }) => (size <= most || index === SIZES.length - 1) && size > (SIZES[index - 1] || 0))
      .reduce((sum, { pictures }) => sum + pictures, 0),
  }));
  return batches.length ? columns : [];
}

function queue({ queue: rows, waiting, running }) {
  const used = rows.filter((row) => row.waiting || row.running);
  const about = used.length ? `${many(waiting, "picture")} waiting, ${running.toLocaleString("en")} running.` : "";
  const tenants = new Set(used.map((row) => row.tenant)).size > 1;
  const line = (row) => el("tr", {}, el("th", { scope: "row" }, row.model, row.version ? ` ${row.version}` : ""),
    tenants ? el("td", { class: "tenant" }, row.tenant) : null, el("td", {}, row.priority), el("td", {}, row.waiting.toLocaleString("en")),
    el("td", {}, row.running.toLocaleString("en")), el("td", {}, time(row.oldest_seconds)));
  const names = ["model", ...(tenants ? ["tenant"] : []), "priority", "waiting", "running", "oldest"];
  waits.hidden = !used.length;
  waits.replaceChildren(el("table", { class: "numbers even waits" }, heads(...names),
    el("tbody", {}, used.sort((a, b) => b.waiting - a.waiting).map(line))));
  return about || "Nothing waits, and nothing runs.";
}

function fleet({ workers, trainers }) {
  const cards = [...workers.map(worker), ...trainers.map(trainer)];
  return el("section", { class: "group" }, el("h2", {}, "Workers"),
    el("p", {}, `${many(workers.length, "worker")}, ${many(trainers.length, "trainer")}.`),
    cards.length ? el("div", { class: "machines" }, cards) : null);
}

function worker(one) {
  const word = one.waits_for ? "waits" : one.holds ? "running" : "idle";
  const { card_memory: card } = one;
  return el("section", { class: "card machine" }, el("h3", {}, short(one.id), " ", state(word)),
    one.waits_for ? el("p", { class: "wrong" }, one.waits_for) : null,
    facts([
      ["device", one.device], ["engine", one.engine], ["memory", one.memory == null ? "" : bytes(one.memory)],
      ["memory of the card", card ? `${bytes(card.used)} of ${bytes(card.total)}` : ""],
      ["loaded models", one.models.length ? one.models.map((name) => el("span", { class: "parameter" }, name.replace("/", " "))) : "none"],
      ["pictures", `${one.pictures.toLocaleString("en")} in ${many(one.batches, "batch", "batches")}, ${one.holds.toLocaleString("en")} now`],
      ["running", ["since ", ago(one.since)]],
    ]));
}

function trainer(one) {
  return el("section", { class: "card machine" }, el("h3", {}, short(one.id), " ", state(one.busy ? "running" : "idle")),
    facts([["device", one.device], ["does", one.busy ? "trains" : "waits for a training"], ["running", ["since ", ago(one.since)]]]));
}

/** Return the end of an id, which tells workers of one machine apart, without its host. */
function short(id) {
  return el("span", { title: id }, id.split("-").slice(-2).join("-"));
}

function time(seconds) {
  if (!seconds) return "0";
  if (seconds < 0.0995) return `${(seconds * 1000).toFixed(seconds < 0.00995 ? 1 : 0)} ms`;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  return seconds < 3600 ? `${(seconds / 60).toFixed(0)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function rate(value) {
  return value.toFixed(value === 0 || value >= 99.5 ? 0 : value < 1 ? 2 : 1);
}

function amount(value) {
  return value >= 10000 ? `${Math.round(value / 1000).toLocaleString("en")} k` : String(Math.round(value));
}

const overTime = el("section", { class: "group" },
  el("div", { class: "over" }, el("h2", {}, "Over time"), el("div", { class: "choice", role: "group", "aria-label": "Time" }, spans)), parts.charts);
const rest = el("div", {}, parts.now, overTime,
  el("section", { class: "group" }, el("h2", {}, "Queue"), depth, waits), parts.workers);
$("content").append(parts.diagnosis, rest);
whenKeyed(load);
