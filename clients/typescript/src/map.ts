/** Any number of pictures, sent as several jobs, a few at a time, and answered in their order. */

import { LONGEST_PAUSE, randomKey, sleep } from "./connection.js";
import { Conflict, InferqError, InferqHTTPError, StillRunning, TooManyRequests } from "./errors.js";
import { partOf, urlOf, type Bytes, type Picture } from "./pictures.js";
import { PICTURE_CODES, type Job, type PictureError, type Prediction } from "./types.js";
import type { Client, Options } from "./client.js";

/** How far a map is. */
export interface MapProgress {
  /** Pictures with an answer or an error. */
  ended: number;
  failed: number;
}

/** The settings of a map. */
export interface MapOptions {
  /** Jobs that run at the same time; 4 by default. */
  concurrency?: number;
  /** Is called before the outcomes of each job are yielded. */
  progress?: (progress: MapProgress) => void;
}

/** The answer for one picture, or why it has none; an archive has an outcome for each of its pictures. */
export interface Outcome {
  /** Which of the pictures; 0 is the first. */
  index: number;
  prediction: Prediction;
  error?: PictureError;
  /** Undefined if the picture was refused before a job was made of it. */
  job?: Job;
}

interface Waiting {
  index: number;
  picture: Picture;
  isUrl: boolean;
  size: number;
}

const BATCH = 64;
const BATCH_BYTES = 16 * 1024 * 1024;
const BATCH_URLS = 16;
/** Jobs that are sent or ended while the first of them is waited for, for each that may run at the same time. */
const AHEAD = 2;
const CODES = new Set<string>(PICTURE_CODES);

/** Yield the outcomes; `Client.map` describes it. */
export async function* mapped(
  client: Client,
  pictures: Iterable<Picture> | AsyncIterable<Picture>,
  { concurrency = 4, progress, ...options }: Options & MapOptions,
): AsyncGenerator<Outcome> {
  if (!(concurrency >= 1)) throw new InferqError(`concurrency is ${concurrency}; at least one job must run`);
  const stop = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
  const places = new Places(Math.floor(concurrency));
  const waiting: Promise<Outcome[]>[] = [];
  const total: MapProgress = { ended: 0, failed: 0 };
  const first = async (): Promise<Outcome[]> => {
    const outcomes = (await waiting.shift()) ?? [];
    total.ended += outcomes.length;
    total.failed += outcomes.filter((outcome) => outcome.error).length;
    progress?.({ ...total });
    return outcomes;
  };
  try {
    for await (const batch of batches(pictures)) {
      const run = () => (Array.isArray(batch) ? classified(client, batch, { ...options, signal }) : [batch]);
      const started = places.run(async () => run());
      started.catch(() => undefined); // thrown when its turn comes; until then it is no unhandled rejection
      waiting.push(started);
      while (waiting.length >= AHEAD * concurrency) yield* await first();
    }
    while (waiting.length) yield* await first();
  } finally {
    stop.abort(new InferqError("the map has ended")); // jobs that were sent continue
  }
}

/** Yield pictures that are sent together, and the outcome of each that is none. */
async function* batches(pictures: Iterable<Picture> | AsyncIterable<Picture>): AsyncGenerator<Waiting[] | Outcome> {
  let batch: Waiting[] = [];
  let bytes = 0;
  let index = 0;
  for await (const picture of pictures) {
    const next = described(picture, index++);
    const last = batch.at(-1);
    const most = last?.isUrl ? BATCH_URLS : BATCH;
    const fits = !("prediction" in next) && bytes + next.size <= BATCH_BYTES && next.isUrl === (last ?? next).isUrl;
    if (batch.length && (!fits || batch.length >= most)) {
      yield batch;
      [batch, bytes] = [[], 0];
    }
    if ("prediction" in next) yield next;
    else {
      batch.push(next);
      bytes += next.size;
    }
  }
  if (batch.length) yield batch;
}

function described(picture: Picture, index: number): Waiting | Outcome {
  try {
    if (urlOf(picture) !== undefined) return { index, picture, isUrl: true, size: 0 };
    const { name, blob } = partOf(picture as Bytes, index + 1);
    return { index, picture: { name, data: blob }, isUrl: false, size: blob.size };
  } catch (error) {
    if (!(error instanceof InferqError)) throw error;
    return refused(index, picture, { code: "unreadable", message: error.message });
  }
}

/** Return the outcomes of a batch; if the server refuses it for a picture, in halves until that one is alone. */
async function classified(client: Client, batch: Waiting[], options: Options & { signal: AbortSignal }): Promise<Outcome[]> {
  try {
    const sent = await submitted(client, batch, options);
    const job = await ended(client, sent._id, options.signal);
    const outcomes: Outcome[] = [];
    for await (const prediction of client.predictions(job)) {
      const { index } = batch[outcomes.length] ?? batch[batch.length - 1]!; // one archive has several predictions
      outcomes.push({ index, job, ...answered(prediction, job) });
    }
    if (outcomes.length) return outcomes;
    return batch.map(({ index }) => ({ index, job, ...answered({ name: "", status: job.status }, job) }));
  } catch (error) {
    const [one, ...others] = batch;
    const isPicture = error instanceof InferqHTTPError && (CODES.has(error.code) || error.status === 413);
    if (!isPicture || !one) throw error;
    if (!others.length) return [refused(one.index, one.picture, { code: error.code, message: error.message })];
    const middle = batch.length >> 1;
    const left = await classified(client, batch.slice(0, middle), options);
    return [...left, ...(await classified(client, batch.slice(middle), options))];
  }
}

/** Submit a batch, for as long as the queue is full, with the same idempotency key however often it is sent. */
async function submitted(client: Client, batch: Waiting[], options: Options & { signal: AbortSignal }): Promise<Job> {
  const pictures = batch.map(({ picture }) => picture);
  let idempotencyKey = randomKey();
  let mayDiffer = batch.some(({ isUrl }) => isUrl);
  for (;;) {
    try {
      return await client.submit(pictures, { ...options, idempotencyKey });
    } catch (error) {
      if (mayDiffer && error instanceof Conflict && error.code === "conflict") {
        // A URL had other bytes when the request was repeated: to the server that is another request.
        [idempotencyKey, mayDiffer] = [randomKey(), false];
        continue;
      }
      if (!(error instanceof TooManyRequests) || error.retryAfter === undefined) throw error;
      await sleep(Math.min(error.retryAfter, LONGEST_PAUSE), options.signal);
    }
  }
}

async function ended(client: Client, jobId: string, signal: AbortSignal): Promise<Job> {
  for (;;) {
    const job = await client.wait(jobId, { timeout: 20, signal }).catch(async (error: unknown) => {
      if (error instanceof StillRunning) return undefined;
      throw error;
    });
    if (job) return job;
  }
}

function answered(prediction: Prediction, job: Job): { prediction: Prediction; error?: PictureError } {
  if (prediction.error) return { prediction, error: prediction.error };
  if (!prediction.status) return { prediction };
  const message = job.error_description || `The job was ${job.status} before this picture ran.`;
  return { prediction, error: { code: job.error || job.status.toLowerCase(), message } };
}

function refused(index: number, picture: Picture, error: PictureError): Outcome {
  const name = typeof picture === "object" && "name" in picture ? String(picture.name) : `picture-${index + 1}`;
  return { index, prediction: { name, error }, error };
}

/** So many tasks run at the same time; the others wait in their order. */
class Places {
  private readonly queue: (() => void)[] = [];

  constructor(private free: number) {}

  async run<T>(task: () => Promise<T>): Promise<T> {
    if (this.free > 0) this.free -= 1;
    else await new Promise<void>((resolve) => this.queue.push(resolve));
    try {
      return await task();
    } finally {
      const next = this.queue.shift();
      if (next) next();
      else this.free += 1;
    }
  }
}
