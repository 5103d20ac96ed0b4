/** The errors of the client, as classes; those of answers by their status, as in the Python client. */

/** The base of all errors here; the message is one line for people. */
export class InferqError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** The server answered with an error. */
export class InferqHTTPError extends InferqError {
  /**
   * `status` is the HTTP status, `code` a stable word for programs, `retryAfter` in how many seconds the same request
   * may succeed, if the server says so.
   */
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
    readonly retryAfter?: number,
  ) {
    super(detail || code || `the server answered ${status}`);
  }
}

/** The request, or a picture of it, cannot be used (400, 413, 415, 422). */
export class BadRequest extends InferqHTTPError {}
/** The key is missing or unknown (401). */
export class Unauthorized extends InferqHTTPError {}
/** The key may not do this (403). */
export class Forbidden extends InferqHTTPError {}
/** There is no such job or model (404). */
export class NotFound extends InferqHTTPError {}
/** The resource is in a state in which this is not possible (409). */
export class Conflict extends InferqHTTPError {}
/** The queue is full, or a limit is met (429). */
export class TooManyRequests extends InferqHTTPError {}
/** The service, or a part of it, is away (502, 503, 504). */
export class Unavailable extends InferqHTTPError {}

/** There is no server at that URL, or the connection broke off. */
export class Unreachable extends InferqError {}
/** The server did not answer within the client's time-out. */
export class TimedOut extends Unreachable {}
/** The job did not end in time; it continues, and can be waited for again. */
export class StillRunning extends InferqError {}

const KINDS: Record<number, typeof InferqHTTPError> = {
  400: BadRequest, 413: BadRequest, 415: BadRequest, 422: BadRequest, 401: Unauthorized, 403: Forbidden, 404: NotFound,
  409: Conflict, 429: TooManyRequests, 502: Unavailable, 503: Unavailable, 504: Unavailable,
};

/** Return the error for an RFC 9457 problem, or for the answer of a proxy. */
export async function problem(response: Response): Promise<InferqHTTPError> {
  let code = "";
  let detail = `${response.status} ${response.statusText}`;
  try {
    const body = await response.json();
    code = String(body.code ?? "");
    detail = String(body.detail || body.title || detail);
  } catch {
    // The page of a proxy: its status is all there is to say.
  }
  return new (KINDS[response.status] ?? InferqHTTPError)(response.status, code, detail, retryAfter(response.headers));
}

/** Return the seconds after which the server wants to be asked again; undefined if it does not say. */
export function retryAfter(headers: Headers): number | undefined {
  const given = headers.get("retry-after") ?? "";
  if (/^\s*\d+(\.\d+)?\s*$/.test(given)) return Number(given);
  // A date is compared with the server's own, so that a wrong clock does not matter.
  const until = Date.parse(given);
  const now = Date.parse(headers.get("date") ?? "");
  if (Number.isNaN(until)) return undefined;
  return Math.max(0, (until - (Number.isNaN(now) ? Date.now() : now)) / 1000);
}
