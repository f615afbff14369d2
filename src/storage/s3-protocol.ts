/** Objects over the protocol of S3, which Google Cloud Storage speaks in its own dialect. */
import { ReplicaError } from "../errors.ts";
import { type Signable, strictEncode } from "./aws-signature.ts";
import type { DriverGet, DriverList, DriverPut, StorageDriver } from "./driver.ts";
import { missing, unavailable } from "./driver.ts";
import {
  checkRange,
  type HttpAnswer,
  type HttpClient,
  noBytes,
  rangeHeader,
  refusal,
  sizeOf,
} from "./http.ts";
import { checkPrefix } from "./keys.ts";
import { sendParts, splitBody } from "./parts.ts";
import { Attempts, type RetryOptions } from "./retry.ts";
import type { Body, Metadata, ObjectContent, StoredObject } from "./storage.ts";
import { elementsOf, textOf } from "./xml.ts";

/** How a store differs from the others that speak S3's protocol. */
export interface S3Dialect {
  readonly kind: "gcs" | "s3";
  readonly name: string;
  /** Where the bucket is; keys come behind its path. */
  readonly base: URL;
  readonly prefix: string;
  readonly region: string;
  /** What the names of headers with metadata begin with. */
  readonly metadataPrefix: string;
  /** What makes a put conditional on the object's absence. */
  readonly ifAbsent: Readonly<Record<string, string>>;
  readonly partBytes: number;
  readonly putHeaders: Readonly<Record<string, string>>;
  /** The headers of a request, with those that say who sends it. */
  authorize(request: Omit<Signable, "payload">, body: Uint8Array): Promise<Record<string, string>>;
}

const partsAtATime = 4;
const pageBytesMax = 4 * 1024 * 1024;

interface Call {
  readonly method: string;
  readonly key?: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  readonly signal: AbortSignal | undefined;
}

export class S3Driver implements StorageDriver {
  readonly kind: "gcs" | "s3";
  readonly keepsMetadata = true;
  readonly name: string;
  readonly #dialect: S3Dialect;
  readonly #http: HttpClient;
  readonly #prefix: string;
  readonly #retry: RetryOptions;

  constructor(dialect: S3Dialect, http: HttpClient, retry: RetryOptions) {
    checkPrefix(dialect.prefix);
    this.kind = dialect.kind;
    this.name = dialect.name;
    this.#dialect = dialect;
    this.#http = http;
    this.#prefix = dialect.prefix === "" ? "" : `${dialect.prefix}/`;
    this.#retry = retry;
  }

  async put(key: string, body: Body, put: DriverPut): Promise<boolean> {
    const { metadata, ifAbsent, signal } = put;
    const split = await splitBody(body, this.#dialect.partBytes);
    if (split.whole === undefined) {
      await this.#putParts(key, split.parts, put);
      return true;
    }
    const condition = ifAbsent ? this.#dialect.ifAbsent : {};
    const headers = { ...this.#headersFor(metadata), ...condition };
    const answer = await this.#send({ method: "PUT", key, headers, body: split.whole, signal });
    if (ifAbsent && answer.status === 412) {
      answer.drop();
      return false;
    }
    await this.#expect(answer, `put ${key}`, 200);
    answer.drop();
    return true;
  }

  async get(key: string, { range, signal }: DriverGet): Promise<ObjectContent> {
    const answer = await this.#send({ method: "GET", key, headers: rangeHeader(range), signal });
    if (answer.status === 404) throw await this.#missing(answer, key);
    const isBeyond = answer.status === 416;
    if (!isBeyond) await this.#expect(answer, `get ${key}`, 200, 206);
    else answer.drop();
    checkRange(answer, range, this.name);
    return {
      bytes: isBeyond ? await this.#bytesOf(key, signal) : sizeOf(answer),
      metadata: answer.headersWith(this.#dialect.metadataPrefix),
      version: answer.header("etag") ?? "",
      body: isBeyond ? noBytes() : answer.body(),
    };
  }

  async *list(
    prefix: string,
    { after, signal }: DriverList,
  ): AsyncGenerator<readonly StoredObject[]> {
    const query: Record<string, string> = { "list-type": "2", prefix: this.#prefix + prefix };
    if (after !== "") query["start-after"] = this.#prefix + after;
    for (;;) {
      const answer = await this.#send({ method: "GET", query, signal });
      await this.#expect(answer, "list", 200);
      const xml = await answer.text(pageBytesMax);
      yield elementsOf(xml, "Contents").map((content) => ({
        key: textOf(content, "Key").slice(this.#prefix.length),
        bytes: Number(textOf(content, "Size")),
        modifiedMs: Date.parse(textOf(content, "LastModified")) || 0,
      }));
      const next = textOf(xml, "NextContinuationToken");
      if (next === "") return;
      query["continuation-token"] = next;
    }
  }

  async delete(key: string, signal: AbortSignal | undefined): Promise<void> {
    const answer = await this.#send({ method: "DELETE", key, signal });
    await this.#expect(answer, `delete ${key}`, 200, 204, 404);
    answer.drop();
  }

  async close(): Promise<void> {
    this.#http.close();
  }

  #headersFor(metadata: Metadata): Record<string, string> {
    const { metadataPrefix, putHeaders } = this.#dialect;
    const named = Object.entries(metadata).map(([name, value]) => [metadataPrefix + name, value]);
    const type = { "content-type": "application/octet-stream" };
    return { ...type, ...putHeaders, ...Object.fromEntries(named) };
  }

  async #putParts(key: string, parts: AsyncIterable<Uint8Array>, put: DriverPut): Promise<void> {
    const { metadata, ifAbsent, signal } = put;
    if (ifAbsent) throw new TypeError("an object in parts cannot be put on a condition");
    const what = `put ${key} in parts`;
    const xml = await this.#textOf(what, {
      method: "POST",
      key,
      query: { uploads: "" },
      headers: this.#headersFor(metadata),
      signal,
    });
    const uploadId = textOf(xml, "UploadId");
    try {
      const tags = await sendParts(parts, partsAtATime, (body, index) => {
        const query = { partNumber: String(index + 1), uploadId };
        const call = { method: "PUT", key, query, body, signal };
        return new Attempts(this.#retry, signal).run(() => this.#putPart(what, call));
      });
      const list = tags.map((tag, i) => `<Part><PartNumber>${i + 1}</PartNumber>${tag}</Part>`);
      const body = Buffer.from(
        `<CompleteMultipartUpload>${list.join("")}</CompleteMultipartUpload>`,
      );
      // Amazon answers 200 before it has begun, and tells of errors in the body.
      const end = await this.#textOf(what, {
        method: "POST",
        key,
        query: { uploadId },
        body,
        signal,
      });
      const code = textOf(end, "Code");
      if (code !== "") throw unavailable(`${this.name}: ${what}: ${code}`);
    } catch (error) {
      // What is left otherwise costs money until somebody cleans up; the error is what counts.
      const abort = { method: "DELETE", key, query: { uploadId }, signal: undefined };
      await this.#send(abort).then(
        (answer) => answer.drop(),
        () => {},
      );
      throw error;
    }
  }

  async #putPart(what: string, call: Call): Promise<string> {
    const answer = await this.#send(call);
    await this.#expect(answer, what, 200);
    answer.drop();
    return `<ETag>${answer.header("etag") ?? ""}</ETag>`;
  }

  async #bytesOf(key: string, signal: AbortSignal | undefined): Promise<number> {
    const answer = await this.#send({ method: "HEAD", key, signal });
    await this.#expect(answer, `get ${key}`, 200);
    answer.drop();
    return sizeOf(answer);
  }

  async #textOf(what: string, call: Call): Promise<string> {
    const answer = await this.#send(call);
    await this.#expect(answer, what, 200);
    return await answer.text(pageBytesMax);
  }

  async #send({ method, key, query = {}, headers = {}, body, signal }: Call): Promise<HttpAnswer> {
    const url = new URL(this.#dialect.base);
    const path = key === undefined ? "" : this.#prefix + key;
    const folder = url.pathname.replace(/\/$/, "");
    url.pathname = `${folder}/${path.split("/").map(strictEncode).join("/")}`;
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    const unsigned = { method, url, headers };
    const signed = await this.#dialect.authorize(unsigned, body ?? new Uint8Array());
    const request = { method, url, headers: signed, signal };
    return await this.#http.send(body === undefined ? request : { ...request, body });
  }

  async #expect(answer: HttpAnswer, what: string, ...statuses: number[]): Promise<void> {
    if (statuses.includes(answer.status)) return;
    const xml = await answer.text();
    const code = textOf(xml, "Code");
    const reason = [code, textOf(xml, "Message")].filter((text) => text !== "").join(": ");
    const told = { what: `${this.name}: ${what}`, status: answer.status, reason };
    // Two conditional writes at a time, or a client that was too slow: worth another attempt.
    const passing = ["ConditionalRequestConflict", "OperationAborted", "RequestTimeout"];
    if (passing.includes(code)) throw unavailable(`${told.what}: ${reason}`);
    const region = answer.header("x-amz-bucket-region");
    if (region !== undefined && region !== this.#dialect.region) {
      throw new ReplicaError("STORAGE_FAILED", `${told.what}: the bucket is in ${region}`, {
        hint: `Set the region to ${region}.`,
      });
    }
    throw refusal(told);
  }

  async #missing(answer: HttpAnswer, key: string): Promise<ReplicaError> {
    const code = textOf(await answer.text(), "Code");
    if (code !== "NoSuchBucket") return missing(this.name, key);
    return refusal({ what: `${this.name}: get ${key}`, status: 404, reason: code });
  }
}
