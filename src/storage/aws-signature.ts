/** Requests signed as S3 wants it (Signature Version 4). */
import { createHash, createHmac } from "node:crypto";

export interface S3Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

export interface Signable {
  readonly method: string;
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  /** SHA-256 of the body in hexadecimal digits, or `UNSIGNED-PAYLOAD`. */
  readonly payload: string;
}

/** The headers of a request, with those that make up its signature. Names are lower-case. */
export function signedHeaders(
  { method, url, headers, payload }: Signable,
  { credentials, region, nowMs }: { credentials: S3Credentials; region: string; nowMs: number },
): Record<string, string> {
  const date = new Date(nowMs).toISOString().replace(/[-:]|\.\d{3}/g, "");
  const { accessKeyId, secretAccessKey, sessionToken } = credentials;
  const all: Record<string, string> = {
    ...headers,
    host: url.host,
    "x-amz-content-sha256": payload,
    "x-amz-date": date,
    ...(sessionToken === undefined ? {} : { "x-amz-security-token": sessionToken }),
  };
  const names = Object.keys(all).sort();
  const canonical = [
    method,
    url.pathname,
    canonicalQuery(url.searchParams),
    ...names.map((name) => `${name}:${all[name]?.trim()}`),
    "",
    names.join(";"),
    payload,
  ].join("\n");
  const scope = `${date.slice(0, 8)}/${region}/s3/aws4_request`;
  const text = ["AWS4-HMAC-SHA256", date, scope, sha256(canonical)].join("\n");
  const key = scope
    .split("/")
    .reduce<Uint8Array>(
      (secret, part) => hmac(secret, part),
      Buffer.from(`AWS4${secretAccessKey}`),
    );
  const signature = hmac(key, text).toString("hex");
  const credential = `Credential=${accessKeyId}/${scope}, SignedHeaders=${names.join(";")}`;
  return { ...all, authorization: `AWS4-HMAC-SHA256 ${credential}, Signature=${signature}` };
}

/** As Amazon spells a URL: all but letters, digits and `-._~`, byte for byte. */
export function strictEncode(text: string): string {
  const hex = (char: string) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`;
  return encodeURIComponent(text).replace(/[!'()*]/g, hex);
}

function canonicalQuery(query: URLSearchParams): string {
  return [...query]
    .map(([name, value]) => `${strictEncode(name)}=${strictEncode(value)}`)
    .sort()
    .join("&");
}

function hmac(key: Uint8Array, text: string): Buffer {
  return createHmac("sha256", key).update(text).digest();
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

const sliceBytes = 1024 * 1024;

/** Hashes a large body a slice at a time, so that the event loop goes on in between. */
export async function payloadHash(body: Uint8Array): Promise<string> {
  const hash = createHash("sha256");
  for (let at = 0; at < body.length; at += sliceBytes) {
    if (at > 0) await new Promise<void>((resolve) => setImmediate(resolve));
    hash.update(body.subarray(at, at + sliceBytes));
  }
  return hash.digest("hex");
}
