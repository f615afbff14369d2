/** `mergelite/storage`: places for backups. */
export { fileStorage } from "./file.ts";
export type { ManagedOptions } from "./managed.ts";
export { probeConditions } from "./probe.ts";
export type { RetryOptions } from "./retry.ts";
export type {
  Body,
  GetOptions,
  ListOptions,
  Metadata,
  ObjectContent,
  PutOptions,
  Storage,
  StorageCallOptions,
  StorageKind,
  StoredObject,
} from "./storage.ts";
