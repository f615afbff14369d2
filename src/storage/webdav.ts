/** WebDAV servers. */
import { randomUUID } from "node:crypto";
import { checkNames } from "../arguments.ts";
import { strictEncode } from "./aws-signature.ts";
import type { DriverGet, DriverList, DriverPut, StorageDriver } from "./driver.ts";
import { missing } from "./driver.ts";
import {
  checkRange,
  type HttpAnswer,
  HttpClient,
  type HttpOptions,
  httpNames,
  noBytes,
  rangeHeader,
  refusal,
  sizeOf,
} from "./http.ts";
import { type ManagedOptions, ManagedStorage, managedNames } from "./managed.ts";
import type { Body, ObjectContent, Storage, StoredObject } from "./storage.ts";
import { listTree, type TreeEntry } from "./tree.ts";
import { elementsOf, textOf } from "./xml.ts";

export interface WebDavOptions extends ManagedOptions, HttpOptions {
  /** Of the folder that holds the objects: `https://host/path`. It is made when it is missing. */
  readonly url: string;
  readonly username?: string;
  readonly password?: string;
  /** Sent with every request, for servers that want other credentials; names in lower case. */
  readonly headers?: Readonly<Record<string, string>>;
}

const names = ["url", "username", "password", "headers"];

export function webDavStorage(options: WebDavOptions): Storage {
  checkNames(options, [...managedNames, ...httpNames, ...names]);
  return new ManagedStorage(new WebDavDriver(options), options);
}

const answerBytesMax = 64 * 1024 * 1024;
const propertiesWanted =
  '<?xml version="1.0"?><propfind xmlns="DAV:"><prop><resourcetype/><getcontentlength/>' +
  "<getlastmodified/></prop></propfind>";

interface Call {
  readonly method: string;
  /** Relative to the root. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | AsyncIterable<Uint8Array>;
  readonly signal: AbortSignal | undefined;
}

class WebDavDriver implements StorageDriver {
  readonly kind = "webdav";
  readonly keepsMetadata = false;
  readonly name: string;
  readonly #http: HttpClient;
  readonly #root: URL;
  readonly #headers: Record<string, string>;

  constructor(options: WebDavOptions) {
    this.#http = new HttpClient(options);
    const root = new URL(options.url);
    const username = options.username ?? decodeURIComponent(root.username);
    const password = options.password ?? decodeURIComponent(root.password);
    root.username = "";
    root.password = "";
    root.pathname = root.pathname.replace(/\/$/, "");
    this.#root = root;
    const named = new URL(root);
    // Users of one server may see other folders under the same path.
    named.username = username;
    this.name = named.href.replace(/^http/, "webdav").replace(/\/$/, "");
    const basic = Buffer.from(`${username}:${password}`).toString("base64");
    this.#headers = {
      ...(username === "" ? {} : { authorization: `Basic ${basic}` }),
      ...options.headers,
    };
  }

  /** Some servers write half a file: so what is put gets its name at the end. */
  async put(key: string, body: Body, { ifAbsent, signal }: DriverPut): Promise<boolean> {
    const folder = folderOf(key);
    const temporary = `${folder === "" ? "" : `${folder}/`}.${randomUUID()}.tmp`;
    try {
      await this.#upload(temporary, body, signal);
      const headers = {
        destination: this.#url(key).href,
        overwrite: ifAbsent ? "F" : "T",
      };
      const answer = await this.#send({ method: "MOVE", path: temporary, headers, signal });
      if (!(ifAbsent && answer.status === 412)) {
        await this.#expect(answer, `put ${key}`, 200, 201, 204);
      }
      answer.drop();
      if (answer.status === 412) await this.delete(temporary, signal);
      return answer.status !== 412;
    } catch (error) {
      await this.delete(temporary, undefined).catch(() => {});
      throw error;
    }
  }

  async get(key: string, { range, signal }: DriverGet): Promise<ObjectContent> {
    const headers = rangeHeader(range);
    const answer = await this.#send({ method: "GET", path: key, headers, signal });
    if (answer.status === 404) {
      answer.drop();
      throw missing(this.name, key);
    }
    const isBeyond = answer.status === 416;
    if (!isBeyond) await this.#expect(answer, `get ${key}`, 200, 206);
    else answer.drop();
    checkRange(answer, range, this.name);
    return {
      bytes: sizeOf(answer),
      metadata: {},
      version: answer.header("etag") ?? answer.header("last-modified") ?? "",
      body: isBeyond ? noBytes() : answer.body(),
    };
  }

  list(prefix: string, list: DriverList): AsyncIterable<readonly StoredObject[]> {
    return listTree((folder) => this.#readFolder(folder, list.signal), prefix, list);
  }

  async delete(key: string, signal: AbortSignal | undefined): Promise<void> {
    const answer = await this.#send({ method: "DELETE", path: key, signal });
    await this.#expect(answer, `delete ${key}`, 200, 204, 404);
    answer.drop();
  }

  async close(): Promise<void> {
    this.#http.close();
  }

  async #upload(path: string, body: Body, signal: AbortSignal | undefined): Promise<void> {
    const start = () => (typeof body === "function" ? body() : body);
    const call = { method: "PUT", path, signal };
    let answer = await this.#send({ ...call, body: start() });
    // Servers have many ways to say that the folder is missing.
    if ([403, 404, 409, 500].includes(answer.status)) {
      answer.drop();
      await this.#makeFolders(folderOf(path), signal);
      answer = await this.#send({ ...call, body: start() });
    }
    await this.#expect(answer, `put ${path}`, 200, 201, 204);
    answer.drop();
  }

  /** What is refused is there, or not ours: whether all is well the put will tell. */
  async #makeFolders(folder: string, signal: AbortSignal | undefined): Promise<void> {
    const url = this.#url(folder === "" ? "" : `${folder}/`);
    const parts = url.pathname.split("/").filter((part) => part !== "");
    for (let count = 1; count <= parts.length; count++) {
      url.pathname = `/${parts.slice(0, count).join("/")}/`;
      const headers = this.#headers;
      (await this.#http.send({ method: "MKCOL", url, headers, signal })).drop();
    }
  }

  async #readFolder(folder: string, signal: AbortSignal | undefined): Promise<TreeEntry[]> {
    const path = folder === "" ? "" : `${folder}/`;
    const headers = { depth: "1", "content-type": "application/xml" };
    const body = Buffer.from(propertiesWanted);
    const answer = await this.#send({ method: "PROPFIND", path, headers, body, signal });
    if (answer.status === 404) {
      answer.drop();
      return [];
    }
    await this.#expect(answer, "list", 207);
    const self = decodeURIComponent(this.#url(path).pathname).replace(/\/$/, "");
    return elementsOf(await answer.text(answerBytesMax), "response").flatMap((response) => {
      const href = new URL(textOf(response, "href"), this.#root).pathname;
      const place = decodeURIComponent(href).replace(/\/$/, "");
      if (place === self) return [];
      return [
        {
          name: place.slice(place.lastIndexOf("/") + 1),
          isFolder: elementsOf(response, "collection").length > 0,
          bytes: Number(textOf(response, "getcontentlength")),
          modifiedMs: Date.parse(textOf(response, "getlastmodified")) || 0,
        },
      ];
    });
  }

  #url(path: string): URL {
    const url = new URL(this.#root);
    url.pathname = `${url.pathname.replace(/\/$/, "")}/${path.split("/").map(strictEncode).join("/")}`;
    return url;
  }

  async #send({ method, path, headers = {}, body, signal }: Call): Promise<HttpAnswer> {
    const url = this.#url(path);
    const request = { method, url, headers: { ...this.#headers, ...headers }, signal };
    return await this.#http.send(body === undefined ? request : { ...request, body });
  }

  async #expect(answer: HttpAnswer, what: string, ...statuses: number[]): Promise<void> {
    if (statuses.includes(answer.status)) return;
    const { status } = answer;
    answer.drop();
    throw refusal({ what: `${this.name}: ${what}`, status, reason: "" });
  }
}

function folderOf(key: string): string {
  return key.slice(0, Math.max(0, key.lastIndexOf("/")));
}
