/** The types of the native API, written by `python clients/typescript/generate.py` from `/openapi.json`. */

/** One batch in which pictures of a job ran. */
export interface BatchRun {
  /** RFC 3339, in UTC. */
  claimed_at: string;
  /** RFC 3339, in UTC. */
  stored_at: string;
  worker: string;
  /** Pictures of the batch, of all jobs. */
  batch: number;
  /** Pictures of this job in it. */
  pictures: number;
  /** 1, or more if a worker ended while it had them. */
  attempt: number;
  /** From the claim until its pictures were decoded. */
  decode_ms: number;
  /** In the network. */
  forward_ms: number;
  /**
   * Why it took no more pictures: `none_left`, no other picture waited; `full`, it had reached its limit; `alone`,
   * the picture was claimed before. Absent if it is unknown.
   */
  closed?: "none_left" | "full" | "alone";
}

/** Why an answer is not believed. */
export interface Doubt {
  code: "low_score" | "unlike_training";
  message: string;
}

/** Where in a picture the evidence for a label lies, or the reason why that is not known. */
export interface Explanation {
  /** The label that is explained. */
  label?: string;
  method?: "grad-cam";
  /** The picture under a heat map, as a PNG; kept as long as the job. */
  link?: string;
  /** Why there is no heat map. */
  reason?: string;
}

/** One picture of a job in JSON: exactly one of `url`, `base64` and `image_id`. */
export interface Input {
  /** A public address of the picture. */
  url?: string;
  /** The picture itself, with or without a data-URI prefix and padding. */
  base64?: string;
  /** A picture that was stored with `POST /v1/images/upload` or `POST /v1/images`. */
  image_id?: string;
  /** Its name in the answer. */
  name?: string;
}

/** A job with its first 1,000 predictions; all of them are at `links.results`. */
export interface Job {
  /** Ids sort by time (UUIDv7). */
  _id: string;
  status: "QUEUED" | "RUNNING" | "DONE" | "FAILED" | "CANCELLED" | "EXPIRED";
  /** True if nothing changes any more by itself; a client need not know the list of statuses. */
  terminal: boolean;
  tenantName: string;
  /** The wire that it came by. */
  wire: string;
  model: ModelReference;
  priority: "high" | "normal" | "low";
  /** RFC 3339, in UTC. */
  created_at: string;
  /** RFC 3339, in UTC; null until it is reached. */
  started_at: string | null;
  /** RFC 3339, in UTC; null until it is reached. */
  finished_at: string | null;
  /** `finished_at` in the format of HTTP dates. */
  processed_time: string | null;
  /** RFC 3339, in UTC; null until it is reached. */
  deadline: string | null;
  /** A JSON object of the caller, returned unchanged. */
  metadata: Record<string, unknown>;
  progress: Progress;
  links: JobLinks;
  request: JobInput;
  /** The first 1,000, once the job has ended; all are at `links.results`. */
  predictions: Prediction[];
  /**
   * While it is QUEUED: the number of its first picture among those that wait for the model. Absent in the answer
   * that accepts the job.
   */
  position?: number | null;
  /** When it should have ended, by the rate that the workers measure; absent if it is unknown. */
  eta?: string | null;
  /** A code for programs, if the job has FAILED or EXPIRED. */
  error?: string;
  /** The reason for people. */
  error_description?: string;
  /** How often its pictures without an answer were queued again; left out if never. */
  retries?: number;
  /** The first nine batches in which its pictures ran, and the last; absent where they are unknown. */
  timeline?: BatchRun[];
}

/** What was requested. */
export interface JobInput {
  files: string[];
  options: Record<string, unknown>;
  texts: string[];
  tenantName: string;
}

/** The addresses that belong to a job. */
export interface JobLinks {
  self: string;
  results: string;
  events: string;
  /** The pictures with their outcomes; `/N` after it is picture N itself. */
  pictures?: string;
}

/** A job as JSON. */
export interface JobRequest {
  /** The pictures; a text is a URL, or the picture in base64. */
  inputs: (string | Input)[] | string | Input;
  /** The model; by default the default model. */
  model?: string;
  /** Its version; by default the model's default version. */
  version?: string;
  /** `classify` gives labels with scores, `features` the input of the model's last layer. */
  task?: "classify" | "features";
  /** Labels per picture. */
  top_k?: number;
  /**
   * How logits become scores; `none` leaves them as they are. By default the function of the version's
   * `problem_type`: softmax, or for multi-label sigmoid, and the answer then has only the labels whose score is at
   * least their threshold. A function that is asked for is applied without thresholds.
   */
  function_to_apply?: "softmax" | "sigmoid" | "none";
  /** Rotate the picture according to its EXIF orientation. */
  exif?: boolean;
  /**
   * Show in a heat map of each picture where the evidence for its best label lies (Grad-CAM). For `classify`, and
   * up to 100 pictures.
   */
  explain?: boolean;
  /** Explain this label instead of the best one. */
  explain_label?: string;
  /** Which pictures go first. */
  priority?: "high" | "normal" | "low";
  /** Seconds from now, or a time in RFC 3339, when the job expires. */
  deadline?: string | number;
  /** A URL that is called when the job has ended, or an object with its secret. */
  webhook?: string | Webhook;
  /** A JSON object of the caller, returned unchanged. */
  metadata?: Record<string, unknown>;
}

/** A label and its score. */
export interface Label {
  label: string;
  score: number;
}

/** A version of a model by its names. */
export interface ModelReference {
  name: string;
  version: string;
}

/** Why a picture has no answer. */
export interface PictureError {
  code: string;
  message: string;
}

/** The answer for one picture, or its error, or its status if the job ended before the picture ran. */
export interface Prediction {
  /** The name of the file. */
  name: string;
  /** Best first; for `classify`. Empty if no label reaches its threshold. */
  results?: Label[];
  /** For `features`. */
  featureVectors?: number[];
  /** Whether the version's rejection rule believes the answer; left out if it has none. */
  confident?: boolean | null;
  /** Why the answer is not believed, if it is not. */
  doubt?: Doubt | null;
  /** For `POST /v1/images/search`. */
  similar?: Similar | null;
  /** With `explain`. */
  explanation?: Explanation | null;
  /** Why this picture has no answer. */
  error?: PictureError | null;
  /** The status of the picture, if the job ended before it ran. */
  status?: string;
}

/** A problem document (RFC 9457). */
export interface Problem {
  type: string;
  /** The kind of problem. */
  title: string;
  status: number;
  /** What is wrong here, and what to do. */
  detail: string;
  /** The kind for programs; it does not change. */
  code: string;
  /** The job that failed with it, if there is one. */
  job_id?: string;
  links?: ProblemLinks | null;
}

/** The addresses that belong to a problem. */
export interface ProblemLinks {
  job: string;
}

/** How many pictures a job has, and how many of them have ended. */
export interface Progress {
  total: number;
  done: number;
  failed: number;
}

/** The pictures that a search has found. */
export interface Similar {
  /** The most similar first. */
  hits: SimilarPicture[];
  /**
   * Pictures that were compared. Of the others the features are not known yet; they are computed in the
   * background, so a later search compares more.
   */
  searched: number;
  /** Pictures among which was to be searched. */
  of: number;
}

/** The addresses that belong to a picture that was found. */
export interface SimilarLinks {
  self: string;
  picture: string;
}

/** One picture that was found: a stored image, or an example of a dataset. */
export interface SimilarPicture {
  /** Cosine of the angle between the features, -1 to 1. */
  similarity: number;
  /** The name of the file. */
  name: string;
  links: SimilarLinks;
  /** Of a stored image. */
  image_id?: string;
  /** Of an example: its dataset. */
  dataset_id?: number;
  /** Of an example: its id in the dataset. */
  example_id?: number;
  /** Of an example: its label. */
  label?: string;
}

/** One line of the streamed results. */
export interface StreamedPrediction {
  /** The name of the file. */
  name: string;
  /** Which picture of the job; 0 is the first. */
  position: number;
  /** Best first; for `classify`. Empty if no label reaches its threshold. */
  results?: Label[];
  /** For `features`. */
  featureVectors?: number[];
  /** Whether the version's rejection rule believes the answer; left out if it has none. */
  confident?: boolean | null;
  /** Why the answer is not believed, if it is not. */
  doubt?: Doubt | null;
  /** For `POST /v1/images/search`. */
  similar?: Similar | null;
  /** With `explain`. */
  explanation?: Explanation | null;
  /** Why this picture has no answer. */
  error?: PictureError | null;
  /** The status of the picture, if the job ended before it ran. */
  status?: string;
}

/** A URL that is called when the job or training has ended. */
export interface Webhook {
  url: string;
  /**
   * Signs the call (Standard Webhooks). It is given with a job or training and does not rotate: for a new one,
   * send another with the next; that of a tenant rotates.
   */
  secret?: string;
}

/** Codes of refusals for which single pictures are the reason. */
export const PICTURE_CODES = [
  "archive_not_flat",
  "archive_with_files",
  "bad_archive",
  "bad_picture",
  "bad_url",
  "broken_picture",
  "no_input",
  "not_a_picture",
  "picture_too_large",
  "too_large",
  "too_many_files",
  "wrong_format",
] as const;
