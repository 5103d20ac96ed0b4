/** The client against a running service at INFERQ_URL, whose default model reads digits; `PICTURE` is that of a seven. */

import assert from "node:assert/strict";
import { openAsBlob } from "node:fs";
import { test } from "node:test";
import { Client } from "../dist/index.js";

const client = new Client();
const picture = await openAsBlob(process.env.PICTURE);

test("classify answers with a label", async () => {
  const job = await client.classify({ name: "seven.png", data: picture }, { top_k: 1, metadata: { who: "me" } });
  assert.equal(job.status, "DONE");
  assert.deepEqual(job.metadata, { who: "me" });
  assert.equal(job.predictions[0].name, "seven.png");
  assert.deepEqual(job.predictions[0].results.map(({ label }) => label), ["7"]);
});

test("a job that was submitted is streamed to its end, and waited for", async () => {
  const job = await client.submit([picture, picture]);
  const statuses = [];
  for await (const change of client.stream(job)) statuses.push(change.status);
  assert.equal(statuses.at(-1), "DONE");
  const ended = await client.wait(job);
  assert.equal(ended.predictions.length, 2);
});

test("the same idempotency key gives the same job", async () => {
  const idempotencyKey = crypto.randomUUID();
  const [first, second] = [await client.submit(picture, { idempotencyKey }), await client.submit(picture, { idempotencyKey })];
  assert.equal(first._id, second._id);
});

test("map answers each picture, and the reason where one is none", async () => {
  const pictures = [...Array(70).fill(picture), new Blob(["no picture"]), picture];
  const outcomes = [];
  for await (const outcome of client.map(pictures)) outcomes.push(outcome);
  assert.equal(outcomes.length, 72);
  assert.deepEqual(outcomes.filter(({ error }) => error).map(({ index }) => index), [70]);
  assert.equal(outcomes[71].prediction.results[0].label, "7");
});

test("what the service refuses is an error with its class, code and words", async () => {
  await assert.rejects(client.get("none"), { name: "NotFound", status: 404 });
  await assert.rejects(client.classify(new Blob(["no picture"])), { name: "BadRequest", code: "not_a_picture" });
  await assert.rejects(client.classify(picture, { model: "no-such-model" }), { name: "NotFound" });
});
