/** The client: classify, submit, wait, stream and map. */

import { Connection, randomKey, sleep, type Settings } from "./connection.js";
import { InferqError, StillRunning, Unreachable } from "./errors.js";
import { mapped, type MapOptions, type Outcome } from "./map.js";
import { bodyOf, type Picture } from "./pictures.js";
import type { Job, JobRequest, StreamedPrediction } from "./types.js";

/** The options of a job; `JobRequest` describes them. */
export type Options = Omit<JobRequest, "inputs"> & { signal?: AbortSignal };
/** A job as its events show it: without predictions. */
export type JobChange = Omit<Job, "predictions">;

const LONGEST_POLL = 20;
const FETCHING = 60;

/** A client of one server. It keeps no connection of its own, so there is nothing to close. */
export class Client {
  private readonly connection: Connection;

  constructor(settings: Settings = {}) {
    this.connection = new Connection(settings);
  }

  /** The address of the server. */
  get url(): string {
    return this.connection.url;
  }

  /**
   * Send pictures, or one archive, as a job, and return it at once. Without an `idempotencyKey` the request has one of
   * its own, so that it can be repeated and makes no second job.
   */
  async submit(
    pictures: Picture | readonly Picture[],
    options: Options & { idempotencyKey?: string } = {},
  ): Promise<Job> {
    return this.send("/v1/jobs", pictures, options, { Prefer: "respond-async" }, 0);
  }

  /** Send pictures and return the ended job; throws StillRunning after `timeout` seconds, by default 60. */
  async classify(pictures: Picture | readonly Picture[], options: Options & { timeout?: number } = {}): Promise<Job> {
    const { timeout = 60, ...rest } = options;
    const until = Date.now() + timeout * 1000;
    const wait = Math.min(timeout, LONGEST_POLL);
    const job = await this.send("/v1/classify", pictures, rest, prefer(wait), wait);
    return job.terminal ? job : this.until(job._id, until, timeout, options.signal);
  }

  /** Return the job in its current state. */
  async get(jobId: string, options: { signal?: AbortSignal } = {}): Promise<Job> {
    return this.connection.repeated<Job>("GET", pathOf(jobId), options);
  }

  /** Wait until the job has ended; throws StillRunning after `timeout` seconds, by default 60. */
  async wait(job: Job | string, options: { timeout?: number; signal?: AbortSignal } = {}): Promise<Job> {
    const { timeout = 60, signal } = options;
    return this.until(idOf(job), Date.now() + timeout * 1000, timeout, signal);
  }

  /** Yield the job now and each time it has changed, until it has ended, by server-sent events. */
  async *stream(job: Job | string, options: { signal?: AbortSignal } = {}): AsyncGenerator<JobChange> {
    const { signal } = options;
    const path = `${pathOf(idOf(job))}/events`;
    let last = "";
    for (let attempt = 0; ; ) {
      let error: unknown = new Unreachable(`the events of ${this.url} ended before the job`);
      try {
        for await (const { event, data } of eventsOf(this.connection.lines(path, signal))) {
          attempt = 0;
          if (data !== last) yield JSON.parse(data) as JobChange; // after a new connection, the first may be known
          last = data;
          if (event === "done") return;
        }
      } catch (thrown) {
        if (thrown instanceof InferqError && !(thrown instanceof Unreachable)) throw thrown;
        if (signal?.aborted) throw thrown;
        error = thrown instanceof InferqError ? thrown : new Unreachable(String(thrown), { cause: thrown });
      }
      const pause = attempt < 3 ? this.connection.pauseAfter(error, attempt) : undefined;
      if (pause === undefined) throw error;
      attempt += 1;
      await sleep(pause, signal);
    }
  }

  /** Yield all predictions of an ended job; `predictions` of a job has the first 1,000. */
  async *predictions(job: Job): AsyncGenerator<StreamedPrediction | Job["predictions"][number]> {
    if (job.progress.total <= job.predictions.length) {
      yield* job.predictions;
      return;
    }
    for await (const line of this.connection.lines(`${pathOf(job._id)}/results?format=ndjson`)) {
      const found = JSON.parse(line);
      if (found.name === undefined && found.error) throw new Unreachable(found.error.message);
      yield found;
    }
  }

  /** Cancel a job that has not ended. */
  async cancel(job: Job | string): Promise<Job> {
    return this.connection.request<Job>("POST", `${pathOf(idOf(job))}/cancel`);
  }

  /**
   * Classify any number of pictures, sent as several jobs, `concurrency` at the same time, and yield an outcome for
   * each, in their order. A generator is read only as far ahead as jobs are sent. A picture that cannot be used has an
   * `error` in its outcome, and does not end the others.
   */
  map(pictures: Iterable<Picture> | AsyncIterable<Picture>, options: Options & MapOptions = {}): AsyncGenerator<Outcome> {
    return mapped(this, pictures, options);
  }

  private async until(jobId: string, until: number, timeout: number, signal?: AbortSignal): Promise<Job> {
    for (;;) {
      const asked = Date.now();
      const wait = Math.min(LONGEST_POLL, Math.max(0, (until - asked) / 1000));
      const headers = wait > 0 ? prefer(wait) : {};
      const job = await this.connection.repeated<Job>("GET", pathOf(jobId), { headers, wait, signal });
      if (job.terminal) return job;
      if (Date.now() >= until) throw new StillRunning(`job ${jobId} is ${job.status} after ${timeout} s; wait for it again`);
      // The server refused to wait, because too many requests wait.
      if (Date.now() - asked < 100) await sleep(Math.min(0.5, Math.max(0, (until - Date.now()) / 1000)), signal);
    }
  }

  private async send(
    path: string,
    pictures: Picture | readonly Picture[],
    options: Options & { idempotencyKey?: string },
    headers: Record<string, string>,
    wait: number,
  ): Promise<Job> {
    const { signal, idempotencyKey = randomKey(), ...rest } = options;
    const body = await bodyOf(Array.isArray(pictures) ? pictures : [pictures as Picture], rest);
    const seconds = wait + (typeof body === "string" ? FETCHING : 0);
    const sent = { headers: { ...headers, "Idempotency-Key": idempotencyKey }, body, wait: seconds, signal };
    return this.connection.repeated<Job>("POST", path, sent);
  }
}

/** Yield the events of a stream: the name and the data of each. */
async function* eventsOf(lines: AsyncIterable<string>): AsyncGenerator<{ event: string; data: string }> {
  let event = "message";
  let data: string[] = [];
  for await (const line of lines) {
    if (line.startsWith("event:")) event = line.slice(6).trim();
    if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
    if (line === "") {
      if (data.length) yield { event, data: data.join("\n") };
      [event, data] = ["message", []];
    }
  }
}

function prefer(wait: number): Record<string, string> {
  return { Prefer: `wait=${Math.max(1, Math.round(wait))}` };
}

function idOf(job: Job | string): string {
  return typeof job === "string" ? job : job._id;
}

function pathOf(jobId: string): string {
  return `/v1/jobs/${encodeURIComponent(jobId)}`;
}
