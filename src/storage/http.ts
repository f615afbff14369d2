/** HTTP as storages use it: connections that are kept, idle time-outs, bodies as streams. */
import * as http from "node:http";
import * as https from "node:https";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { ReplicaError } from "../errors.ts";
import { onAbort } from "../on-abort.ts";
import { unavailable } from "./driver.ts";

export interface HttpOptions {
  /** How long a connection may be silent, in ms. @default 30000 */
  readonly timeoutMs?: number;
  /** Certificate authorities to trust instead of the system's, as PEM. */
  readonly ca?: string;
}

/** Of {@link HttpOptions}. */
export const httpNames: readonly string[] = ["timeoutMs", "ca"];

export interface HttpRequest {
  readonly method: string;
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  /** A stream is sent in chunks of unknown number. */
  readonly body?: Uint8Array | AsyncIterable<Uint8Array>;
  readonly signal: AbortSignal | undefined;
}

const errorBytesMax = 64 * 1024;

/** An answer whose body has to be read, or dropped. */
export class HttpAnswer {
  readonly status: number;
  readonly #message: http.IncomingMessage;

  constructor(message: http.IncomingMessage) {
    this.#message = message;
    this.status = message.statusCode ?? 0;
  }

  header(name: string): string | undefined {
    const value = this.#message.headers[name];
    return Array.isArray(value) ? value[0] : value;
  }

  /** Headers that begin with `prefix`, without it. */
  headersWith(prefix: string): Record<string, string> {
    const found = Object.entries(this.#message.headers).flatMap(([name, value]) =>
      name.startsWith(prefix) && typeof value === "string"
        ? [[name.slice(prefix.length), value]]
        : [],
    );
    return Object.fromEntries(found) as Record<string, string>;
  }

  async *body(): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for await (const piece of this.#message) yield piece as Uint8Array;
    } catch (error) {
      throw unavailable(`the connection broke: ${(error as Error).message}`, error);
    } finally {
      this.#message.destroy();
    }
  }

  async text(bytesMax: number = errorBytesMax): Promise<string> {
    const pieces: Uint8Array[] = [];
    let size = 0;
    for await (const piece of this.body()) {
      pieces.push(piece);
      size += piece.length;
      if (size > bytesMax) throw new ReplicaError("STORAGE_FAILED", "an answer is too long");
    }
    return Buffer.concat(pieces).toString();
  }

  /** The connection can be used again when what is left of the body has passed by. */
  drop(): void {
    this.#message.resume();
    this.#message.on("error", () => {});
  }

  /** Nothing more of it is read, and its connection is given up. */
  end(): void {
    this.#message.on("error", () => {});
    this.#message.destroy();
  }
}

export class HttpClient {
  readonly #timeoutMs: number;
  readonly #plain = new http.Agent({ keepAlive: true });
  readonly #secure: https.Agent;

  constructor({ timeoutMs = 30_000, ca }: HttpOptions = {}) {
    this.#timeoutMs = timeoutMs;
    const options = { keepAlive: true };
    this.#secure = new https.Agent(ca === undefined ? options : { ...options, ca });
  }

  /** @throws `STORAGE_UNAVAILABLE` when there is no answer */
  async send({ method, url, headers = {}, body, signal }: HttpRequest): Promise<HttpAnswer> {
    signal?.throwIfAborted();
    const isSecure = url.protocol === "https:";
    const agent = isSecure ? this.#secure : this.#plain;
    const length = body instanceof Uint8Array ? { "content-length": String(body.length) } : {};
    const options = { method, agent, headers: { ...headers, ...length } };
    const request = (isSecure ? https : http).request(url, options);
    if (signal !== undefined) {
      const off = onAbort(signal, () => request.destroy(new Error("aborted")));
      request.once("close", off);
    }
    const timeout = () => request.destroy(new Error(`silent for ${this.#timeoutMs} ms`));
    request.setTimeout(this.#timeoutMs, timeout);
    request.setNoDelay(true);
    try {
      const answered = new Promise<http.IncomingMessage>((resolve, reject) => {
        request.once("response", resolve);
        request.on("error", reject);
      });
      if (body === undefined || body instanceof Uint8Array) request.end(body);
      // An answer before the end of the body, most likely a refusal, is what counts.
      else await Promise.race([answered, sendStream(body, request)]);
      return new HttpAnswer(await answered);
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof BodyError) throw error.cause;
      throw unavailable(`${url.host}: ${(error as Error).message}`, error);
    }
  }

  close(): void {
    this.#plain.destroy();
    this.#secure.destroy();
  }
}

/** What the caller's own stream threw is the caller's, and not tried again. */
class BodyError extends Error {}

async function sendStream(
  body: AsyncIterable<Uint8Array>,
  request: http.ClientRequest,
): Promise<void> {
  async function* guarded(): AsyncGenerator<Uint8Array> {
    try {
      yield* body;
    } catch (error) {
      throw new BodyError("", { cause: error });
    }
  }
  await pipeline(Readable.from(guarded(), { objectMode: true, highWaterMark: 1 }), request);
}

export interface Refusal {
  /** What was to be done, for people: `s3://bucket: put ltx/…`. */
  readonly what: string;
  readonly status: number;
  /** The server's own code or words. */
  readonly reason: string;
}

/** The error for an answer that is none of those that an operation expects. */
export function refusal({ what, status, reason }: Refusal): ReplicaError {
  const message = `${what}: ${status}${reason === "" ? "" : ` ${reason}`}`;
  const cause = { status, reason };
  if (status === 401 || status === 403)
    return new ReplicaError("STORAGE_DENIED", message, { cause });
  if (status === 408 || status === 425 || status === 429 || (status >= 500 && status !== 507)) {
    return unavailable(message, cause);
  }
  return new ReplicaError("STORAGE_FAILED", message, { cause });
}

/** `bytes` and what a range answer says of it: of `bytes 5-9/20` it is 20. */
export function sizeOf(answer: HttpAnswer): number {
  const total = /\/(\d+)$/.exec(answer.header("content-range") ?? "")?.[1];
  return Number(total ?? answer.header("content-length") ?? 0);
}

export function rangeHeader(
  range: { readonly offset: number; readonly length: number } | undefined,
): Record<string, string> {
  if (range === undefined) return {};
  return { range: `bytes=${range.offset}-${range.offset + range.length - 1}` };
}

/** @throws `STORAGE_FAILED` for an answer that has more than was asked for; it is broken off */
export function checkRange(
  answer: HttpAnswer,
  range: { readonly offset: number; readonly length: number } | undefined,
  name: string,
): void {
  if (range === undefined || answer.status !== 200) return;
  const bytes = Number(answer.header("content-length") ?? Number.NaN);
  // The whole of an object that has no more than that is what was asked for.
  if (bytes === 0 || (range.offset === 0 && bytes <= range.length)) return;
  answer.end();
  throw new ReplicaError("STORAGE_FAILED", `${name}: the server ignores ranges`, {
    hint: "Mergelite reads parts of objects: let what stands before the server pass on `Range`.",
  });
}

/** The name of a storage at a server of one's own: others have buckets of the same name. */
export function nameAt(endpoint: string | undefined, name: string): string {
  if (endpoint === undefined) return name;
  const { origin, pathname } = new URL(endpoint);
  return `${name}?endpoint=${origin}${pathname.replace(/\/$/, "")}`;
}

/** Nothing, as a body. */
export async function* noBytes(): AsyncGenerator<Uint8Array, void, undefined> {}
