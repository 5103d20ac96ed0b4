/** The client against a small server: what it sends, what it repeats, and how it judges answers. */

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { test } from "node:test";
import * as inferq from "../dist/index.js";
import { job, withServer } from "./toy_server.mjs";

const { Client } = inferq;
const BUSY = { code: "queue_full", detail: "The queue is full." };
const bytes = (text) => new TextEncoder().encode(text);

test("submit sends files and options, does not wait, and has a key of its own", () =>
  withServer(async ({ url, requests, on }) => {
    on("POST /v1/jobs", [202, {}, job("QUEUED")]);
    const client = new Client({ url, key: "secret" });
    const sent = await client.submit([bytes("quack"), { name: "cat.png", data: new Blob(["meow"]) }], { top_k: 3, metadata: { who: "me" } });
    await client.submit(new File(["woof"], "dog.png"), { idempotencyKey: "mine" });
    const [first, second] = requests;
    assert.equal(sent._id, "j1");
    assert.equal(first.headers.prefer, "respond-async");
    assert.equal(first.headers.authorization, "Bearer secret");
    assert.match(first.body, /name="top_k"\r\n\r\n3\r\n/);
    assert.match(first.body, /\{"who":"me"\}/);
    assert.match(first.body, /filename="picture-1"[^]*quack[^]*filename="cat.png"[^]*meow/);
    assert.match(second.body, /filename="dog.png"/);
    assert.match(first.headers["idempotency-key"], /^[0-9a-f]{32}$/);
    assert.equal(second.headers["idempotency-key"], "mine");
  }));

test("a URL is fetched by the server, and bytes beside it are sent in the same JSON", () =>
  withServer(async ({ url, requests, on }) => {
    on("POST /v1/jobs", [202, {}, job("QUEUED")]);
    await new Client({ url }).submit(["https://example.org/a.jpg", { name: "b.jpg", data: bytes("meow") }], { top_k: 3 });
    assert.equal(requests[0].headers["content-type"], "application/json");
    const inputs = [{ url: "https://example.org/a.jpg" }, { name: "b.jpg", base64: "bWVvdw==" }];
    assert.deepEqual(JSON.parse(requests[0].body), { top_k: 3, inputs });
  }));

test("a path and what is no picture are refused before anything is sent", () =>
  withServer(async ({ url, requests }) => {
    const client = new Client({ url });
    await assert.rejects(client.submit("photos/a.jpg"), { name: "InferqError", message: /is no URL; for a file, send its bytes/ });
    await assert.rejects(client.submit([7]), { name: "InferqError", message: /picture 1 must be a URL, a Blob/ });
    assert.equal(requests.length, 0);
  }));

test("a submit is repeated under one key, after the time that the server asks for", () =>
  withServer(async ({ url, requests, on }) => {
    const now = new Date();
    const date = { "Retry-After": now.toUTCString(), Date: now.toUTCString() };
    on("POST /v1/jobs", [429, { "Retry-After": "0" }, BUSY], [503, date, BUSY], [202, {}, job("QUEUED")]);
    assert.equal((await new Client({ url }).submit(bytes("x")))._id, "j1");
    assert.equal(requests.length, 3);
    assert.equal(new Set(requests.map(({ headers }) => headers["idempotency-key"])).size, 1);
  }));

test("a server that asks for more patience than a caller has is not asked again", () =>
  withServer(async ({ url, requests, on }) => {
    for (const [asked, seconds] of [["31", 31], ["Fri, 31 Dec 2199 23:59:59 GMT", 1e9]]) {
      on("POST /v1/jobs", [429, { "Retry-After": asked }, BUSY]);
      await assert.rejects(new Client({ url }).submit(bytes("x")), (error) => {
        assert.ok(error instanceof inferq.TooManyRequests && error instanceof inferq.InferqError);
        assert.ok(error.retryAfter >= seconds);
        return true;
      });
    }
    assert.equal(requests.length, 2);
  }));

test("a pause is as long as the server asks for, and no request is repeated more often than is wished", () =>
  withServer(async ({ url, requests, on }) => {
    on("GET /v1/jobs/j1", [503, { "Retry-After": "0.2" }, BUSY]);
    const began = Date.now();
    await assert.rejects(new Client({ url, retries: 1 }).get("j1"), { name: "Unavailable", message: "The queue is full." });
    assert.ok(Date.now() - began >= 190);
    assert.equal(requests.length, 2);
  }));

test("a connection that breaks off is repeated, but only to a server that was there", () =>
  withServer(async ({ url, requests, on }) => {
    const client = new Client({ url });
    on("GET /v1/jobs/j1", [0]);
    await assert.rejects(client.get("j1"), { name: "Unreachable" });
    assert.equal(requests.length, 1);
    on("GET /v1/jobs/j1", [200, {}, job("DONE")], [0], [200, {}, job("DONE")]);
    assert.equal((await client.get("j1")).status, "DONE");
    assert.equal((await client.get("j1")).status, "DONE");
    assert.equal(requests.length, 4);
  }));

test("a server that is too slow is an error of its own, and a caller may stop waiting", () =>
  withServer(async ({ url, requests, on }) => {
    on("GET /v1/jobs/j1", () => new Promise(() => {}));
    await assert.rejects(new Client({ url, timeout: 0.1 }).get("j1"), { name: "TimedOut" });
    assert.equal(requests.length, 1);
    const stop = new AbortController();
    const asked = new Client({ url }).get("j1", { signal: stop.signal });
    stop.abort(new Error("enough"));
    await assert.rejects(asked, { message: "enough" });
  }));

test("an error has the class of its status", () =>
  withServer(async ({ url, on }) => {
    const classes = {
      400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict", 413: "BadRequest",
      415: "BadRequest", 418: "InferqHTTPError", 422: "BadRequest", 429: "TooManyRequests", 500: "InferqHTTPError",
      502: "Unavailable", 503: "Unavailable", 504: "Unavailable",
    };
    for (const [status, name] of Object.entries(classes)) {
      on("GET /v1/jobs/j1", [Number(status), {}, { code: "no", detail: "Why." }]);
      const expected = { name, status: Number(status), code: "no", message: "Why." };
      await assert.rejects(new Client({ url, retries: 0 }).get("j1"), expected);
      assert.equal(typeof inferq[name], "function");
    }
    on("GET /v1/jobs/j1", [502, {}, "<html>bad gateway</html>"]);
    await assert.rejects(new Client({ url, retries: 0 }).get("j1"), { message: "502 Bad Gateway" });
  }));

test("classify goes on waiting for a job that is not done, and says when its time is over", () =>
  withServer(async ({ url, requests, on }) => {
    on("POST /v1/classify", [202, {}, job("RUNNING")]);
    on("GET /v1/jobs/j1", [200, {}, job("DONE")]);
    assert.equal((await new Client({ url }).classify(bytes("x"))).status, "DONE");
    assert.match(requests[1].headers.prefer, /^wait=/);
    on("GET /v1/jobs/j1", [200, {}, job("RUNNING")]);
    const late = { name: "StillRunning", message: /j1 is RUNNING after 0.05 s/ };
    await assert.rejects(new Client({ url }).classify(bytes("x"), { timeout: 0.05 }), late);
  }));

test("stream yields each change once, over a connection that ends", () =>
  withServer(async ({ url, requests, on }) => {
    const event = (name, status, done) => `event: ${name}\ndata: ${JSON.stringify({ _id: "j1", status, done })}\n\n`;
    const head = event("status", "RUNNING", 0) + ": waiting\n\n" + event("progress", "RUNNING", 1);
    const rest = event("status", "RUNNING", 1) + event("status", "DONE", 2) + event("done", "DONE", 2);
    on("GET /v1/jobs/j1/events", [200, { "Content-Type": "text/event-stream" }, head], [200, {}, rest]);
    const seen = [];
    for await (const change of new Client({ url }).stream("j1")) seen.push([change.status, change.done]);
    assert.deepEqual(seen, [["RUNNING", 0], ["RUNNING", 1], ["DONE", 2]]);
    assert.equal(requests.length, 2);
  }));

test("stream of a job that does not exist is NotFound", () =>
  withServer(async ({ url }) => {
    await assert.rejects(new Client({ url }).stream("none").next(), { name: "NotFound" });
  }));

test("predictions of a large job are read line by line", () =>
  withServer(async ({ url, on }) => {
    const large = job("DONE", { progress: { total: 2, done: 2, failed: 0 } });
    on("GET /v1/jobs/j1/results", [200, {}, '{"name":"a","position":0}\n{"name":"b","position":1}\n']);
    const names = [];
    for await (const prediction of new Client({ url }).predictions(large)) names.push(prediction.name);
    assert.deepEqual(names, ["a", "b"]);
    on("GET /v1/jobs/j1/results", [200, {}, '{"error":{"code":"incomplete","message":"Ask again."}}\n']);
    await assert.rejects(new Client({ url }).predictions(large).next(), { name: "Unreachable", message: "Ask again." });
  }));

const LARGE = job("DONE", { progress: { total: 5, done: 5, failed: 0 } });
const never = () => new Promise(() => {});

test("a body that is read as it arrives may take longer than the time-out, but not be silent for so long", () =>
  withServer(async ({ url, on }) => {
    async function* slow() {
      for (let number = 0; number < 5; number++) {
        yield `{"name":"${number}"}\n`;
        await new Promise((resolve) => setTimeout(resolve, 300));
      }
    }
    async function* silent() {
      yield '{"name":"0"}\n';
      await never();
    }
    on("GET /v1/jobs/j1/results", () => [200, {}, slow()]);
    const names = [];
    for await (const { name } of new Client({ url, timeout: 1 }).predictions(LARGE)) names.push(name);
    assert.deepEqual(names, ["0", "1", "2", "3", "4"]);
    on("GET /v1/jobs/j1/results", () => [200, {}, silent()]);
    const predictions = new Client({ url, timeout: 0.2 }).predictions(LARGE);
    assert.equal((await predictions.next()).value.name, "0");
    await assert.rejects(predictions.next(), { name: "Unreachable", message: /broke off \(nothing came for 0.2 s\)/ });
  }));

test("a stream whose connection is dead without a word goes on over another", () =>
  withServer(async ({ url, requests, on }) => {
    const event = (name, status) => `event: ${name}\ndata: ${JSON.stringify({ _id: "j1", status })}\n\n`;
    async function* dead() {
      yield event("status", "RUNNING");
      await never();
    }
    on("GET /v1/jobs/j1/events", () => [200, {}, dead()], [200, {}, event("status", "DONE") + event("done", "DONE")]);
    const seen = [];
    for await (const { status } of new Client({ url, timeout: 0.2 }).stream("j1")) seen.push(status);
    assert.deepEqual(seen, ["RUNNING", "DONE"]);
    assert.equal(requests.length, 2);
  }));

test("a connection that breaks off within an answer is repeated, and else Unreachable", () =>
  withServer(async ({ url, requests, on }) => {
    async function* half() {
      yield '{"_id":';
      await new Promise((resolve) => setTimeout(resolve, 50));
      throw new Error("gone");
    }
    const broken = () => [200, {}, half()];
    on("GET /v1/jobs/j1", broken, [200, {}, job("DONE")]);
    on("POST /v1/jobs", broken, [202, {}, job("QUEUED")]);
    const client = new Client({ url });
    assert.equal((await client.get("j1")).status, "DONE");
    assert.equal((await client.submit(bytes("x"))).status, "QUEUED");
    assert.equal(requests.length, 4);
    on("GET /v1/jobs/j1", broken);
    await assert.rejects(new Client({ url, retries: 0 }).get("j1"), { name: "Unreachable", message: /broke off/ });
    on("GET /v1/jobs/j1/results", () => [200, {}, half()]);
    await assert.rejects(client.predictions(LARGE).next(), { name: "Unreachable", message: /broke off/ });
  }));

test("an answer that stops half-way is too late, and a caller may stop waiting for it", () =>
  withServer(async ({ url, on }) => {
    let isSent;
    const sent = new Promise((resolve) => (isSent = resolve));
    async function* stuck() {
      yield '{"_id":';
      isSent();
      await never();
    }
    on("GET /v1/jobs/j1", () => [200, {}, stuck()]);
    await assert.rejects(new Client({ url, timeout: 0.2 }).get("j1"), { name: "TimedOut" });
    const stop = new AbortController();
    const asked = new Client({ url }).get("j1", { signal: stop.signal });
    await sent;
    stop.abort(new Error("enough"));
    await assert.rejects(asked, { message: "enough" });
  }));

/** Answer every job with a label for each of its pictures, unless one of them is called `bad`. */
function classifier({ on }) {
  const jobs = [];
  on("POST /v1/jobs", ({ body }) => {
    const names = [...body.matchAll(/filename="([^"]*)"/g)].map(([, name]) => name);
    if (names.includes("bad")) return [400, {}, { code: "not_a_picture", detail: "It is no picture." }];
    const id = `j${jobs.push(names)}`;
    const predictions = names.map((name) => ({ name, results: [{ label: `label of ${name}`, score: 1 }] }));
    on(`GET /v1/jobs/${id}`, [200, {}, job("DONE", { _id: id, predictions })]);
    return [202, {}, job("QUEUED", { _id: id })];
  });
  return jobs;
}

test("map answers thousands of a generator in their order", () =>
  withServer(async (server) => {
    const jobs = classifier(server);
    async function* pictures() {
      for (let number = 0; number < 2000; number++) yield { name: `${number}.jpg`, data: bytes("x") };
    }
    const seen = [];
    let last;
    for await (const { index, prediction } of new Client(server).map(pictures(), { progress: (now) => (last = now) })) {
      seen.push(`${index} ${prediction.results[0].label}`);
    }
    assert.deepEqual(seen, Array.from({ length: 2000 }, (_, number) => `${number} label of ${number}.jpg`));
    assert.deepEqual(last, { ended: 2000, failed: 0 });
    assert.equal(jobs.length, Math.ceil(2000 / 64));
  }));

test("a picture that cannot be used does not end the others of a map", () =>
  withServer(async (server) => {
    classifier(server);
    const pictures = [{ name: "a", data: bytes("x") }, { name: "bad", data: bytes("x") }, "photos/c.jpg", { name: "d", data: bytes("x") }];
    const outcomes = [];
    for await (const outcome of new Client(server).map(pictures)) outcomes.push(outcome);
    assert.deepEqual(outcomes.map(({ index }) => index), [0, 1, 2, 3]);
    assert.deepEqual(outcomes.map(({ error }) => error?.code), [undefined, "not_a_picture", "unreadable", undefined]);
    assert.match(outcomes[2].error.message, /is no URL/);
  }));

test("a batch of a map has one key however often it is sent, so that an answer that was lost makes no second job", () =>
  withServer(async ({ url, requests, on }) => {
    const busy = [429, { "Retry-After": "0" }, BUSY];
    on("POST /v1/jobs", ...Array(5).fill(busy), [202, {}, job("QUEUED")]);
    on("GET /v1/jobs/j1", [200, {}, job("DONE", { predictions: [{ name: "a", results: [] }] })]);
    const { value } = await new Client({ url, retries: 1 }).map([bytes("x")]).next();
    assert.equal(value.prediction.name, "a");
    const sent = requests.filter(({ method }) => method === "POST");
    assert.equal(sent.length, 6);
    assert.equal(new Set(sent.map(({ headers }) => headers["idempotency-key"])).size, 1);
  }));

test("a batch of URLs gets a new key once, since a URL may have other bytes when it is fetched again", () =>
  withServer(async ({ url, requests, on }) => {
    const conflict = [409, {}, { code: "conflict", detail: "The key belongs to another request." }];
    on("GET /v1/jobs/j1", [200, {}, job("DONE", { predictions: [{ name: "a", results: [] }] })]);
    on("POST /v1/jobs", conflict, [202, {}, job("QUEUED")]);
    const address = "https://example.org/a.jpg";
    assert.equal((await new Client({ url }).map([address]).next()).value.prediction.name, "a");
    const keys = requests.filter(({ method }) => method === "POST").map(({ headers }) => headers["idempotency-key"]);
    assert.equal(new Set(keys).size, 2);
    on("POST /v1/jobs", conflict);
    for (const picture of [address, bytes("x")]) await assert.rejects(new Client({ url }).map([picture]).next(), { name: "Conflict" });
    assert.equal(requests.filter(({ method }) => method === "POST").length, 2 + 2 + 1);
  }));

test("what concerns all pictures ends a map", () =>
  withServer(async ({ url, on }) => {
    on("POST /v1/jobs", [404, {}, { code: "model_not_found", detail: "There is no model." }]);
    await assert.rejects(new Client({ url }).map([bytes("x")]).next(), { name: "NotFound", message: "There is no model." });
    await assert.rejects(new Client({ url }).map([bytes("x")], { concurrency: 0 }).next(), { name: "InferqError" });
  }));

test("so many jobs of a map run at once, and a generator is read only a few jobs ahead", () =>
  withServer(async ({ url, requests, on }) => {
    let taken = 0;
    function* endless() {
      for (;;) {
        taken += 1;
        yield bytes("x");
      }
    }
    const stop = new AbortController();
    const both = new Promise((resolve) => on("GET /v1/jobs/j1", () => new Promise(() => requests.length >= 4 && resolve())));
    on("POST /v1/jobs", [202, {}, job("QUEUED")]);
    const first = new Client({ url }).map(endless(), { concurrency: 2, signal: stop.signal }).next();
    await both;
    stop.abort(new Error("enough"));
    await assert.rejects(first, { message: "enough" });
    assert.equal(requests.filter(({ method }) => method === "POST").length, 2);
    assert.ok(taken <= (2 * 2 + 1) * 64 + 1, String(taken));
  }));

test("a callback is genuine if one of the secrets has signed it, and recently", async () => {
  const raw = Buffer.from("a secret of some bytes");
  const body = '{"id":"j1"}';
  const now = Math.floor(Date.now() / 1000);
  const sign = (key, timestamp) => "v1," + createHmac("sha256", key).update(`m1.${timestamp}.${body}`).digest("base64");
  const headers = (timestamp, signature) => ({ "Webhook-Id": "m1", "webhook-timestamp": String(timestamp), "webhook-signature": signature });
  const prefixed = "whsec" + "_" + raw.toString("base64");
  const good = headers(now, sign(raw, now));
  assert.equal(await inferq.isGenuine(prefixed, good, body), true);
  assert.equal(await inferq.isGenuine(["another", prefixed], new Headers(good), bytes(body)), true);
  assert.equal(await inferq.isGenuine("plain", headers(now, `v1,AAAA ${sign("plain", now)}`), body), true);
  assert.equal(await inferq.isGenuine("another", good, body), false);
  assert.equal(await inferq.isGenuine(prefixed, good, body + " "), false);
  assert.equal(await inferq.isGenuine(prefixed, headers(now - 400, sign(raw, now - 400)), body), false);
  assert.equal(await inferq.isGenuine(prefixed, headers(now - 400, sign(raw, now - 400)), body, { tolerance: 500 }), true);
  assert.equal(await inferq.isGenuine(prefixed, {}, body), false);
  await assert.rejects(inferq.isGenuine("whsec" + "_!", good, body), TypeError);
});
