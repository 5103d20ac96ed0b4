/** Pictures as callers have them, and as they are sent: in a form, or in JSON where a URL is among them. */

import { InferqError } from "./errors.js";

/** The bytes of a picture. */
export type Bytes = Blob | ArrayBuffer | ArrayBufferView;

/**
 * A URL that the server fetches, bytes, or a name with bytes. A `File` has a name of its own; in Node.js,
 * `await openAsBlob(path)` of `node:fs` opens a file.
 */
export type Picture = string | URL | Bytes | { name: string; data: Bytes };

/** Return the URL of a picture that is one; throws an InferqError for a text that is none. */
export function urlOf(picture: Picture): string | undefined {
  if (picture instanceof URL) return picture.href;
  if (typeof picture !== "string") return undefined;
  if (/^https?:\/\//.test(picture)) return picture;
  throw new InferqError(`${JSON.stringify(picture)} is no URL; for a file, send its bytes, as openAsBlob(path) gives them`);
}

/** Return name and bytes of the picture number `number` of a request. */
export function partOf(picture: Exclude<Picture, string | URL>, number: number): { name: string; blob: Blob } {
  if (typeof picture === "object" && picture !== null && "data" in picture && "name" in picture) {
    return { name: picture.name, blob: blobOf(picture.data, number) };
  }
  const blob = blobOf(picture as Bytes, number);
  return { name: (blob as Partial<File>).name || `picture-${number}`, blob };
}

/** Return the body of a request: options and pictures. */
export async function bodyOf(pictures: readonly Picture[], options: object): Promise<FormData | string> {
  const given = Object.entries(options).filter(([, value]) => value !== undefined && value !== null);
  const urls = pictures.map(urlOf);
  if (urls.some((url) => url !== undefined)) {
    const inputs = await Promise.all(pictures.map((picture, index) => inputOf(picture, urls[index], index + 1)));
    return JSON.stringify({ ...Object.fromEntries(given), inputs });
  }
  const form = new FormData();
  for (const [name, value] of given) form.append(name, typeof value === "string" ? value : JSON.stringify(value));
  pictures.forEach((picture, index) => {
    const { name, blob } = partOf(picture as Bytes, index + 1);
    form.append("files", blob, name);
  });
  return form;
}

async function inputOf(picture: Picture, url: string | undefined, number: number): Promise<object> {
  if (url !== undefined) return { url };
  const { name, blob } = partOf(picture as Bytes, number);
  return { name, base64: base64Of(new Uint8Array(await blob.arrayBuffer())) };
}

function base64Of(bytes: Uint8Array): string {
  const pieces: string[] = [];
  for (let at = 0; at < bytes.length; at += 0x8000) {
    pieces.push(String.fromCharCode(...bytes.subarray(at, at + 0x8000))); // an argument each: not too many at once
  }
  return btoa(pieces.join(""));
}

function blobOf(data: Bytes, number: number): Blob {
  if (data instanceof Blob) return data;
  if (data instanceof ArrayBuffer || ArrayBuffer.isView(data)) return new Blob([data as BlobPart]);
  throw new InferqError(`picture ${number} must be a URL, a Blob, an ArrayBuffer or a view of one, or a name with these`);
}
