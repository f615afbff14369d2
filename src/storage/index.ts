/** `mergelite/storage`: places for backups. */
export { type AzureOptions, azureStorage } from "./azure.ts";
export { encryptedStorage, plainStorage } from "./encrypted.ts";
export { type EncryptionKeys, parseEncryptionKeys } from "./encryption.ts";
export { fileStorage } from "./file.ts";
export { type FtpOptions, ftpStorage } from "./ftp.ts";
export { type GcsOptions, type GoogleKey, gcsStorage } from "./gcs.ts";
export type { HttpOptions } from "./http.ts";
export type { ManagedOptions } from "./managed.ts";
export { type OpenStorageOptions, openStorage } from "./open.ts";
export { probeConditions } from "./probe.ts";
export type { RetryOptions } from "./retry.ts";
export { type S3Credentials, type S3Options, s3Storage } from "./s3.ts";
export { type SftpOptions, sftpStorage } from "./sftp.ts";
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
export { type WebDavOptions, webDavStorage } from "./webdav.ts";
