/** The connection to a server: requests by `fetch`, their time-outs, and which of them are repeated, and when. */

import { InferqError, InferqHTTPError, problem, TimedOut, TooManyRequests, Unavailable, Unreachable } from "./errors.js";

/** The settings of a client. */
export interface Settings {
  /** By default INFERQ_URL of the environment, or http://127.0.0.1:8000. */
  url?: string;
  /** By default INFERQ_KEY of the environment; `""` sends no key. */
  key?: string;
  /** Seconds that the server may take to answer, in addition to a requested wait, or pause in a stream; 30 by default. */
  timeout?: number;
  /** How often a GET or a submit is repeated while the server is busy or away; 3 by default. */
  retries?: number;
  /** Another `fetch`, as that of a framework. */
  fetch?: typeof fetch;
}

/** What a request has besides its method and path. */
export interface Sent {
  headers?: Record<string, string>;
  body?: FormData | string;
  /** Seconds that the server may hold the request. */
  wait?: number;
  signal?: AbortSignal | undefined;
}

/** Most seconds before a request is repeated; if the server asks for longer, its answer is thrown. */
export const LONGEST_PAUSE = 30;
const PAUSE = 0.5;

export class Connection {
  readonly url: string;
  private readonly key: string;
  private readonly timeout: number;
  private readonly retries: number;
  private readonly fetch: typeof fetch;
  private isReached = false;

  constructor(settings: Settings) {
    const variables = environment();
    this.url = (settings.url ?? variables.INFERQ_URL ?? "http://127.0.0.1:8000").replace(/\/+$/, "");
    this.key = settings.key ?? variables.INFERQ_KEY ?? "";
    this.timeout = settings.timeout ?? 30;
    this.retries = settings.retries ?? 3;
    this.fetch = settings.fetch ?? globalThis.fetch.bind(globalThis);
  }

  /** Send one request and return its JSON; throws an InferqHTTPError for a refusal, Unreachable without a whole answer. */
  async request<T>(method: string, path: string, sent: Sent = {}): Promise<T> {
    return JSON.parse(await this.answer(method, path, sent, (response) => response.text()));
  }

  /** Send a request that may be sent again, as `request` does: a GET, or a submit with an idempotency key. */
  async repeated<T>(method: string, path: string, sent: Sent = {}): Promise<T> {
    return this.patiently(() => this.request<T>(method, path, sent), sent.signal);
  }

  /**
   * Send a GET and yield the lines of its body as they arrive, for as long as their sender likes; throws Unreachable if
   * the connection breaks off, or nothing arrives for the time-out, as of a server that is gone without a word.
   */
  async *lines(path: string, signal?: AbortSignal): AsyncGenerator<string> {
    const open = () => this.answer("GET", path, { signal }, async (response) => response);
    const { body } = await this.patiently(open, signal);
    if (!body) return;
    const reader = body.getReader(); // not every browser iterates streams
    const decoder = new TextDecoder();
    let rest = "";
    try {
      for (;;) {
        const { done, value } = await this.unlessSilent(reader.read(), signal);
        const parts = (rest + decoder.decode(value, { stream: !done })).split("\n");
        rest = parts.pop() ?? "";
        for (const line of parts) yield line.replace(/\r$/, "");
        if (done) break;
      }
      if (rest) yield rest;
    } finally {
      await reader.cancel().catch(() => undefined); // a caller that stops reading ends the request
    }
  }

  /** Send one request and return what `read` makes of its response; both together have the time-out. */
  private async answer<T>(
    method: string,
    path: string,
    { headers = {}, body, wait = 0, signal }: Sent,
    read: (response: Response) => Promise<T>,
  ): Promise<T> {
    // Not AbortSignal.timeout, which would also end a body that is still read as it arrives.
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(), milliseconds(this.timeout + wait));
    let problemOf = `no server can be reached at ${this.url}`;
    try {
      const response = await this.fetch(this.url + path, {
        method,
        headers: {
          ...(this.key ? { Authorization: `Bearer ${this.key}` } : {}),
          ...(typeof body === "string" ? { "Content-Type": "application/json" } : {}),
          ...headers,
        },
        body: body ?? null,
        signal: AbortSignal.any([late.signal, ...(signal ? [signal] : [])]),
      });
      this.isReached = true;
      problemOf = `the connection to ${this.url} broke off`;
      if (!response.ok) throw await problem(response);
      return await read(response);
    } catch (error) {
      if (error instanceof InferqError) throw error;
      signal?.throwIfAborted();
      if (late.signal.aborted) throw new TimedOut(`the server at ${this.url} does not answer in time`);
      throw new Unreachable(`${problemOf} (${reason(error)})`, { cause: error });
    } finally {
      clearTimeout(timer);
    }
  }

  /** Return what is read of a stream; throws Unreachable if that fails, or takes longer than the time-out. */
  private async unlessSilent<T>(read: Promise<T>, signal?: AbortSignal): Promise<T> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const silence = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`nothing came for ${this.timeout} s`)), milliseconds(this.timeout));
    });
    try {
      return await Promise.race([read, silence]);
    } catch (error) {
      signal?.throwIfAborted();
      throw new Unreachable(`the connection to ${this.url} broke off (${reason(error)})`, { cause: error });
    } finally {
      clearTimeout(timer);
    }
  }

  /** Return what `send` returns, repeated while the server is busy or away. */
  private async patiently<T>(send: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await send();
      } catch (error) {
        const pause = attempt < this.retries ? this.pauseAfter(error, attempt) : undefined;
        if (pause === undefined) throw error;
        await sleep(pause, signal);
      }
    }
  }

  /** Return the seconds after which a request is repeated; undefined if it is not. */
  pauseAfter(error: unknown, attempt: number): number | undefined {
    const isAway = error instanceof Unavailable;
    if (error instanceof InferqHTTPError && error.retryAfter !== undefined) {
      const mayRepeat = (isAway || error instanceof TooManyRequests) && error.retryAfter <= LONGEST_PAUSE;
      return mayRepeat ? error.retryAfter : undefined;
    }
    // A server that was never reached is likelier at another address than away: its caller is told at once.
    const isLost = error instanceof Unreachable && !(error instanceof TimedOut) && this.isReached;
    return isLost || isAway ? PAUSE * 2 ** attempt : undefined;
  }
}

/** Wait for so many seconds, or until the signal aborts, whose reason is thrown. */
export async function sleep(seconds: number, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted();
  await new Promise<void>((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, seconds * 1000);
    signal?.addEventListener("abort", abort, { once: true });
  });
}

/** Return a new idempotency key. */
export function randomKey(): string {
  // Not crypto.randomUUID, which browsers have only on pages of https.
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function milliseconds(seconds: number): number {
  return Math.min(Math.ceil(seconds * 1000), 2 ** 31 - 1); // a longer timer would end at once
}

function reason(error: unknown): string {
  const cause = error instanceof Error ? (error.cause ?? error) : error;
  return cause instanceof Error ? cause.message || cause.name : String(cause);
}

function environment(): Record<string, string | undefined> {
  try {
    const { process } = globalThis as { process?: { env?: Record<string, string | undefined> } };
    return { INFERQ_URL: process?.env?.INFERQ_URL, INFERQ_KEY: process?.env?.INFERQ_KEY };
  } catch {
    return {}; // Deno, without leave to read the environment
  }
}
