/** A client of inferq for Node.js, Deno and browsers, by `fetch` alone. */

export { Client, type JobChange, type Options } from "./client.js";
export type { Settings } from "./connection.js";
export {
  BadRequest, Conflict, Forbidden, InferqError, InferqHTTPError, NotFound, StillRunning, TimedOut, TooManyRequests,
  Unauthorized, Unavailable, Unreachable,
} from "./errors.js";
export type { MapOptions, MapProgress, Outcome } from "./map.js";
export type { Bytes, Picture } from "./pictures.js";
export type * from "./types.js";
export { isGenuine } from "./webhook.js";
