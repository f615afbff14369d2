/** Azure Blob Storage. */
import { randomUUID } from "node:crypto";
import { checkNames } from "../arguments.ts";
import { type Clock, systemClock } from "../clock.ts";
import type { ReplicaError } from "../errors.ts";
import { strictEncode } from "./aws-signature.ts";
import { sharedKey } from "./azure-signature.ts";
import type { DriverGet, DriverList, DriverPut, StorageDriver } from "./driver.ts";
import { missing } from "./driver.ts";
import {
  checkRange,
  type HttpAnswer,
  HttpClient,
  type HttpOptions,
  httpNames,
  nameAt,
  noBytes,
  refusal,
  sizeOf,
} from "./http.ts";
import { checkPrefix } from "./keys.ts";
import { type ManagedOptions, ManagedStorage, managedNames } from "./managed.ts";
import { partBytesDefault, sendParts, splitBody } from "./parts.ts";
import { Attempts } from "./retry.ts";
import type { Body, Metadata, ObjectContent, Storage, StoredObject } from "./storage.ts";
import { elementsOf, textOf } from "./xml.ts";

export interface AzureOptions extends ManagedOptions, HttpOptions {
  readonly account: string;
  readonly container: string;
  /** What comes before all keys, without a slash at its end. @default "" */
  readonly prefix?: string;
  /** One of the account's two keys, in base64. */
  readonly key?: string;
  /** A shared access signature, in place of a key: the query, with or without `?`. */
  readonly sas?: string;
  /** Gives an access token of Entra, in place of a key; asked for each request. */
  readonly token?: () => Promise<string>;
  /** @default "https://<account>.blob.core.windows.net" */
  readonly endpoint?: string;
  /** Larger objects go in blocks, of this size at first. @default 8388608 */
  readonly partBytes?: number;
}

const names = ["account", "container", "prefix", "key", "sas", "token", "endpoint", "partBytes"];

export function azureStorage(options: AzureOptions): Storage {
  checkNames(options, [...managedNames, ...httpNames, ...names]);
  return new ManagedStorage(new AzureDriver(options), options);
}

const apiVersion = "2021-12-02";
const blocksAtATime = 4;
const pageBytesMax = 16 * 1024 * 1024;
/** Names are identifiers there. Litestream's own drops its hyphen; ours become underscores. */
const litestreamName = { ours: "litestream-timestamp", azure: "litestreamtimestamp" };

interface Call {
  readonly method: string;
  readonly key?: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  readonly signal: AbortSignal | undefined;
}

class AzureDriver implements StorageDriver {
  readonly kind = "azure";
  readonly keepsMetadata = true;
  readonly name: string;
  readonly #options: AzureOptions;
  readonly #http: HttpClient;
  readonly #base: string;
  readonly #prefix: string;
  readonly #clock: Clock;

  constructor(options: AzureOptions) {
    const { account, container, prefix = "", clock = systemClock } = options;
    checkPrefix(prefix);
    this.#options = options;
    this.#http = new HttpClient(options);
    this.#clock = clock;
    this.#prefix = prefix === "" ? "" : `${prefix}/`;
    const endpoint = options.endpoint ?? `https://${account}.blob.core.windows.net`;
    this.#base = `${endpoint.replace(/\/$/, "")}/${container}`;
    const name = `abs://${account}@${container}${prefix === "" ? "" : `/${prefix}`}`;
    this.name = nameAt(options.endpoint, name);
  }

  async put(key: string, body: Body, put: DriverPut): Promise<boolean> {
    const { signal, ifAbsent } = put;
    const split = await splitBody(body, this.#options.partBytes ?? partBytesDefault);
    const condition: Record<string, string> = ifAbsent ? { "if-none-match": "*" } : {};
    const headers = { ...metadataHeaders(put.metadata), ...condition };
    let call: Call = {
      method: "PUT",
      key,
      headers: { ...headers, "x-ms-blob-type": "BlockBlob" },
      body: split.whole ?? new Uint8Array(),
      signal,
    };
    if (split.whole === undefined) {
      const ids = await this.#putBlocks(key, split.parts, signal);
      const list = ids.map((id) => `<Latest>${id}</Latest>`).join("");
      const xml = Buffer.from(`<?xml version="1.0"?><BlockList>${list}</BlockList>`);
      call = { method: "PUT", key, query: { comp: "blocklist" }, headers, body: xml, signal };
    }
    const answer = await this.#send(call);
    const isThere = answer.status === 409 || answer.status === 412;
    if (!(ifAbsent && isThere)) await this.#expect(answer, `put ${key}`, 201);
    answer.drop();
    return answer.status === 201;
  }

  async get(key: string, { range, signal }: DriverGet): Promise<ObjectContent> {
    const end = range === undefined ? 0 : range.offset + range.length - 1;
    const headers: Record<string, string> =
      range === undefined ? {} : { "x-ms-range": `bytes=${range.offset}-${end}` };
    const answer = await this.#send({ method: "GET", key, headers, signal });
    if (answer.status === 404 && answer.header("x-ms-error-code") === "BlobNotFound") {
      answer.drop();
      throw missing(this.name, key);
    }
    const isBeyond = answer.status === 416;
    if (!isBeyond) await this.#expect(answer, `get ${key}`, 200, 206);
    else answer.drop();
    checkRange(answer, range, this.name);
    const metadata = Object.entries(answer.headersWith("x-ms-meta-")).map(([name, value]) => [
      nameOf(name),
      value,
    ]);
    return {
      bytes: isBeyond ? await this.#bytesOf(key, signal) : sizeOf(answer),
      metadata: Object.fromEntries(metadata),
      version: answer.header("etag") ?? "",
      body: isBeyond ? noBytes() : answer.body(),
    };
  }

  async *list(
    prefix: string,
    { after, signal }: DriverList,
  ): AsyncGenerator<readonly StoredObject[]> {
    const query: Record<string, string> = {
      restype: "container",
      comp: "list",
      prefix: this.#prefix + prefix,
    };
    for (;;) {
      const answer = await this.#send({ method: "GET", query, signal });
      await this.#expect(answer, "list", 200);
      const xml = await answer.text(pageBytesMax);
      yield elementsOf(xml, "Blob")
        .map((blob) => ({
          key: textOf(blob, "Name").slice(this.#prefix.length),
          bytes: Number(textOf(blob, "Content-Length")),
          modifiedMs: Date.parse(textOf(blob, "Last-Modified")) || 0,
        }))
        // It cannot be asked to begin anywhere else than at the prefix.
        .filter(({ key }) => key > after);
      const marker = textOf(xml, "NextMarker");
      if (marker === "") return;
      query.marker = marker;
    }
  }

  async delete(key: string, signal: AbortSignal | undefined): Promise<void> {
    const answer = await this.#send({ method: "DELETE", key, signal });
    await this.#expect(answer, `delete ${key}`, 202, 404);
    answer.drop();
  }

  async close(): Promise<void> {
    this.#http.close();
  }

  /** Blocks nobody lists are thrown away after a week: nothing has to be cleaned up. */
  async #putBlocks(
    key: string,
    blocks: AsyncIterable<Uint8Array>,
    signal: AbortSignal | undefined,
  ): Promise<string[]> {
    // Two uploads of one key at a time must not mix their blocks.
    const upload = randomUUID();
    return await sendParts(blocks, blocksAtATime, async (body, index) => {
      const number = String(index).padStart(6, "0");
      const blockid = Buffer.from(`${upload}-${number}`).toString("base64");
      const call = { method: "PUT", key, query: { comp: "block", blockid }, body, signal };
      await new Attempts(this.#options, signal).run(async () => {
        const answer = await this.#send(call);
        await this.#expect(answer, `put ${key} in blocks`, 201);
        answer.drop();
      });
      return blockid;
    });
  }

  async #bytesOf(key: string, signal: AbortSignal | undefined): Promise<number> {
    const answer = await this.#send({ method: "HEAD", key, signal });
    await this.#expect(answer, `get ${key}`, 200);
    answer.drop();
    return sizeOf(answer);
  }

  async #send({ method, key, query = {}, headers = {}, body, signal }: Call): Promise<HttpAnswer> {
    const path =
      key === undefined ? "" : `/${(this.#prefix + key).split("/").map(strictEncode).join("/")}`;
    const url = new URL(this.#base + path);
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    const all: Record<string, string> = {
      ...headers,
      "x-ms-date": new Date(this.#clock.now()).toUTCString(),
      "x-ms-version": apiVersion,
    };
    const { account, key: secret, sas, token } = this.#options;
    if (token !== undefined) all.authorization = `Bearer ${await token()}`;
    else if (sas !== undefined) {
      for (const [name, value] of new URLSearchParams(sas)) url.searchParams.set(name, value);
    } else if (secret !== undefined) {
      const request = { method, url, headers: all, account, bytes: body?.length ?? 0 };
      all.authorization = sharedKey(request, secret);
    }
    const request = { method, url, headers: all, signal };
    return await this.#http.send(body === undefined ? request : { ...request, body });
  }

  async #expect(answer: HttpAnswer, what: string, ...statuses: number[]): Promise<void> {
    if (statuses.includes(answer.status)) return;
    throw await this.#refusal(answer, what);
  }

  async #refusal(answer: HttpAnswer, what: string): Promise<ReplicaError> {
    const xml = await answer.text();
    const code = answer.header("x-ms-error-code") ?? textOf(xml, "Code");
    return refusal({ what: `${this.name}: ${what}`, status: answer.status, reason: code });
  }
}

function metadataHeaders(metadata: Metadata): Record<string, string> {
  const named = Object.entries(metadata).map(([name, value]) => {
    const plain = name === litestreamName.ours ? litestreamName.azure : name.replaceAll("-", "_");
    return [`x-ms-meta-${plain}`, value];
  });
  return Object.fromEntries(named) as Record<string, string>;
}

function nameOf(name: string): string {
  return name === litestreamName.azure ? litestreamName.ours : name.replaceAll("_", "-");
}
