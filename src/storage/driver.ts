/**
 * What one kind of storage has to do: one attempt at each operation. Retries, limits and checks of
 * arguments are the same for all of them and are made once, in `managed.ts`.
 */
import { ReplicaError } from "../errors.ts";
import type { Body, Metadata, ObjectContent, StorageKind, StoredObject } from "./storage.ts";

export interface DriverPut {
  readonly metadata: Metadata;
  /** Do not overwrite. */
  readonly ifAbsent: boolean;
  readonly signal: AbortSignal | undefined;
}

export interface DriverGet {
  readonly range: { readonly offset: number; readonly length: number } | undefined;
  readonly signal: AbortSignal | undefined;
}

export interface DriverList {
  readonly after: string;
  readonly signal: AbortSignal | undefined;
}

/** `STORAGE_UNAVAILABLE` is an attempt that may be made again; every other error is final. */
export interface StorageDriver {
  readonly name: string;
  readonly kind: StorageKind;
  readonly keepsMetadata: boolean;
  /** False: there is such an object, and `ifAbsent`. */
  put(key: string, body: Body, put: DriverPut): Promise<boolean>;
  get(key: string, get: DriverGet): Promise<ObjectContent>;
  /** Pages of objects in the order of their keys. */
  list(prefix: string, list: DriverList): AsyncIterable<readonly StoredObject[]>;
  delete(key: string, signal: AbortSignal | undefined): Promise<void>;
  close(): Promise<void>;
}

/** A passing failure. */
export function unavailable(message: string, cause?: unknown): ReplicaError {
  return new ReplicaError("STORAGE_UNAVAILABLE", message, cause === undefined ? {} : { cause });
}

export function missing(name: string, key: string): ReplicaError {
  return new ReplicaError("STORAGE_MISSING", `${name} has no ${key}`);
}

export function changedMeanwhile(name: string, key: string): ReplicaError {
  return new ReplicaError("STORAGE_FAILED", `${name}: ${key} changed while it was read`);
}

/** Bytes of either kind of body, in pieces. */
export async function* piecesOf(body: Body): AsyncGenerator<Uint8Array, void, undefined> {
  if (typeof body === "function") yield* body();
  else yield body;
}

/** All bytes of a body; for what is known to be small. */
export async function bytesOf(body: Body | AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  if (body instanceof Uint8Array) return body;
  const pieces: Uint8Array[] = [];
  for await (const piece of typeof body === "function" ? body() : body) pieces.push(piece);
  return Buffer.concat(pieces);
}
