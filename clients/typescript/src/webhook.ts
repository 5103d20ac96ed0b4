/** The check of a callback by its receiver: whether one of its secrets has signed it, and recently. */

/** Seconds that a callback may be old, or from the future. */
export const TOLERANCE = 300;

/**
 * Return true if a callback was signed with one of the secrets (Standard Webhooks), at most `tolerance` seconds ago.
 *
 * `body` is as it arrived, not parsed and written again. While a secret rotates, give the old one and the new one.
 */
export async function isGenuine(
  secrets: string | readonly string[],
  headers: Headers | Record<string, string | readonly string[] | undefined>,
  body: string | Uint8Array,
  { tolerance = TOLERANCE }: { tolerance?: number } = {},
): Promise<boolean> {
  const given = readable(headers);
  const timestamp = given("webhook-timestamp");
  if (!/^\d+$/.test(timestamp) || !(Math.abs(Date.now() / 1000 - Number(timestamp)) <= tolerance)) return false;
  const head = new TextEncoder().encode(`${given("webhook-id")}.${timestamp}.`);
  const text = typeof body === "string" ? new TextEncoder().encode(body) : body;
  const signed = new Uint8Array(head.length + text.length);
  signed.set(head);
  signed.set(text, head.length);
  const signatures = given("webhook-signature").split(" ").filter((each) => each.startsWith("v1,"));
  for (const secret of typeof secrets === "string" ? [secrets] : secrets) {
    const key = await crypto.subtle.importKey("raw", bytesOf(secret), { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
    for (const signature of signatures) {
      const sent = decoded(signature.slice(3));
      if (sent && (await crypto.subtle.verify("HMAC", key, sent, signed))) return true; // compares in constant time
    }
  }
  return false;
}

function bytesOf(secret: string): Uint8Array<ArrayBuffer> {
  if (!secret.startsWith("whsec_")) return new TextEncoder().encode(secret) as Uint8Array<ArrayBuffer>;
  const bytes = decoded(secret.slice(6));
  if (!bytes) throw new TypeError("a secret that begins with whsec_ must be base64 after it");
  return bytes;
}

function decoded(base64: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  } catch {
    return undefined;
  }
}

function readable(headers: Headers | Record<string, string | readonly string[] | undefined>): (name: string) => string {
  if (headers instanceof Headers) return (name) => headers.get(name) ?? "";
  const given = new Map(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
  return (name) => [given.get(name) ?? ""].flat().join(" ");
}
