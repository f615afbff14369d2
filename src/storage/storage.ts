/**
 * A place for objects under keys: what backups are kept in. Small on purpose: any object store,
 * file server or folder can do this much.
 */

import { kindOf } from "../arguments.ts";

/** `file`, `s3`, … : the scheme of the URLs that open it. */
export type StorageKind = "azure" | "file" | "ftp" | "gcs" | "s3" | "sftp" | "webdav";

/** Names of lower-case letters, digits and hyphens, with short text each. */
export type Metadata = Readonly<Record<string, string>>;

/**
 * What is put: bytes, or a function that gives them in pieces from the beginning, each time it is
 * called, for an upload that fails is begun again.
 */
export type Body = Uint8Array | (() => AsyncIterable<Uint8Array>);

export interface StorageCallOptions {
  /** Ends the call; it rejects with `signal.reason`. */
  readonly signal?: AbortSignal | undefined;
}

export interface PutOptions extends StorageCallOptions {
  /** Kept where `keepsMetadata`, and ignored elsewhere. @default none */
  readonly metadata?: Metadata;
}

export interface GetOptions extends StorageCallOptions {
  /** In bytes; what lies beyond the end is left out. @default the whole object */
  readonly range?: { readonly offset: number; readonly length: number };
}

export interface ListOptions extends StorageCallOptions {
  /** Only keys above this one. @default all */
  readonly after?: string;
}

export interface StoredObject {
  readonly key: string;
  readonly bytes: number;
  /** When it was put, in ms since 1970, by the storage's clock; 0 where that is not known. */
  readonly modifiedMs: number;
}

export interface ObjectContent {
  /** Of the whole object, also when a range was asked for. */
  readonly bytes: number;
  readonly metadata: Metadata;
  /** Another one when the object has been overwritten; "" where the storage does not tell. */
  readonly version: string;
  /** The object's bytes, or the range's. Read it to its end, or stop: then the rest is dropped. */
  readonly body: AsyncIterable<Uint8Array>;
}

/**
 * Keys are `/`-separated parts of letters, digits, `.`, `_`, `=` and `-`, none of which begins with
 * a `.`; at most 512 bytes in all. Anything else is a `TypeError`. No key is another one's folder:
 * `a` beside `a/b` is refused where there are folders.
 *
 * All calls repeat what fails in passing, with growing pauses, and reject with
 * `STORAGE_UNAVAILABLE` in the end, `STORAGE_DENIED` without the right to do it, `STORAGE_FAILED`
 * for other refusals; after `close` with `CLOSED`.
 */
export interface Storage {
  /**
   * The URL that it was opened with, without credentials. For people, and no two places may have
   * the same: what a folder keeps of several storages, it keeps by their names.
   */
  readonly name: string;
  readonly kind: StorageKind;
  readonly keepsMetadata: boolean;

  /** Puts all of an object, or none, in place of what has that key. Durable when it resolves. */
  put(key: string, body: Body, options?: PutOptions): Promise<void>;
  /**
   * Puts a small object unless there is one of that key: of any number of callers anywhere, one
   * gets `true`. Give it bytes that no other caller has, for that is how an answer lost on the way
   * is told from an object that was there before. Call `probeConditions` before relying on it.
   */
  putIfAbsent(key: string, body: Uint8Array, options?: PutOptions): Promise<boolean>;
  /**
   * A connection that breaks while the body is read is made again where it stopped; if the object
   * has been overwritten meanwhile, that is `STORAGE_FAILED`.
   * @throws `STORAGE_MISSING`
   */
  get(key: string, options?: GetOptions): Promise<ObjectContent>;
  /** All objects whose keys begin with `prefix`, in the order of their keys' bytes. */
  list(prefix: string, options?: ListOptions): AsyncIterable<StoredObject>;
  /** What is not there is deleted already. */
  delete(key: string, options?: StorageCallOptions): Promise<void>;
  /** Lets go of connections. Idempotent. */
  close(): Promise<void>;
}

/** A URL, or the promise of `openStorage`, would fail much later. @throws TypeError */
export function checkStorage(storage: unknown): void {
  if (typeof storage === "object" && storage !== null && "putIfAbsent" in storage) return;
  throw new TypeError(`a storage is what \`await openStorage(url)\` gives, not ${kindOf(storage)}`);
}
