/** Storages by their URLs, as a command line or a configuration file names them. */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { checkNames } from "../arguments.ts";
import { ReplicaError } from "../errors.ts";
import { azureStorage } from "./azure.ts";
import { encryptedStorage, plainStorage } from "./encrypted.ts";
import { type EncryptionKeys, parseEncryptionKeys } from "./encryption.ts";
import { fileStorage } from "./file.ts";
import { ftpStorage } from "./ftp.ts";
import { type GoogleKey, gcsStorage } from "./gcs.ts";
import { type HttpOptions, httpNames } from "./http.ts";
import { type ManagedOptions, managedNames } from "./managed.ts";
import { s3Storage } from "./s3.ts";
import { sftpStorage } from "./sftp.ts";
import type { Storage } from "./storage.ts";
import { webDavStorage } from "./webdav.ts";

export interface OpenStorageOptions extends ManagedOptions, HttpOptions {
  /** Where keys and passwords are that the URL does not have. @default `process.env` */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** 32 bytes each; without any, nothing is encrypted. @default MERGELITE_ENCRYPTION_KEYS' */
  readonly encryptionKeys?: EncryptionKeys;
}

interface Place {
  readonly url: URL;
  /** The path without slashes at its ends. */
  readonly prefix: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly options: ManagedOptions & HttpOptions;
}

interface Scheme {
  /** Parameters that the URL may have. */
  readonly parameters: readonly string[];
  open(place: Place): Storage | Promise<Storage>;
}

const schemes: Readonly<Record<string, Scheme>> = {
  "file:": { parameters: [], open: openFile },
  "s3:": { parameters: ["endpoint", "region", "path-style"], open: openS3 },
  "gs:": { parameters: ["endpoint"], open: openGcs },
  "abs:": { parameters: ["endpoint"], open: openAzure },
  "ftp:": { parameters: [], open: openFtp },
  "ftps:": { parameters: ["implicit"], open: openFtp },
  "sftp:": { parameters: ["host-key"], open: openSftp },
  "webdav:": { parameters: [], open: openWebDav },
  "webdavs:": { parameters: [], open: openWebDav },
};

/**
 * `file:///folder`, `s3://bucket/prefix`, `gs://bucket/prefix`, `abs://account@container/prefix`,
 * `sftp://user@host/folder`, `ftp(s)://user@host/folder`, `webdav(s)://user:password@host/folder`.
 * @throws `INVALID_OPTION`, without telling the URL's password
 */
export async function openStorage(
  address: string,
  { env = process.env, encryptionKeys, ...options }: OpenStorageOptions = {},
): Promise<Storage> {
  // Who misspells the option for keys must not get a backup that is not encrypted.
  checkNames(options, [...managedNames, ...httpNames, "env", "encryptionKeys"]);
  const url = URL.canParse(address) ? new URL(address) : undefined;
  const scheme = url === undefined ? undefined : schemes[url.protocol];
  if (url === undefined || scheme === undefined) {
    const known = Object.keys(schemes).map((each) => `${each}//`);
    // Whatever else it is, it may have a password.
    const what = address.includes("@") ? "" : `: ${JSON.stringify(address)}`;
    throw invalid(`not the URL of a storage${what} (${known.join(", ")})`);
  }
  for (const name of url.searchParams.keys()) {
    if (scheme.parameters.includes(name)) continue;
    throw invalid(`${url.protocol}// has no parameter ${JSON.stringify(name)}`);
  }
  if ((url.protocol === "s3:" || url.protocol === "gs:") && url.hostname === "") {
    throw invalid(`${url.protocol}// wants a bucket: ${url.protocol}//bucket/prefix`);
  }
  const prefix = decodeURIComponent(url.pathname).replace(/^\/+|\/+$/g, "");
  try {
    const text = env.MERGELITE_ENCRYPTION_KEYS;
    const keys = encryptionKeys ?? (text === undefined ? undefined : parseEncryptionKeys(text));
    const storage = await scheme.open({ url, prefix, env, options });
    return keys === undefined ? plainStorage(storage) : encryptedStorage(storage, keys);
  } catch (error) {
    if (error instanceof TypeError) throw invalid(error.message);
    throw error;
  }
}

function openFile({ url, options: all }: Place): Storage {
  const { timeoutMs: _, ca: __, ...options } = all;
  return fileStorage(fileURLToPath(url), options);
}

function openS3({ url, prefix, env, options }: Place): Storage {
  const accessKeyId = env.AWS_ACCESS_KEY_ID ?? env.LITESTREAM_ACCESS_KEY_ID;
  const secretAccessKey = env.AWS_SECRET_ACCESS_KEY ?? env.LITESTREAM_SECRET_ACCESS_KEY;
  if (accessKeyId === undefined || secretAccessKey === undefined) {
    throw invalid("s3:// wants AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment");
  }
  const sessionToken = env.AWS_SESSION_TOKEN;
  const endpoint = parameter(url, "endpoint") ?? env.AWS_ENDPOINT_URL_S3;
  const region = parameter(url, "region") ?? env.AWS_REGION ?? env.AWS_DEFAULT_REGION;
  const pathStyle = parameter(url, "path-style");
  if (pathStyle !== undefined && pathStyle !== "true" && pathStyle !== "false") {
    throw invalid("path-style is true or false");
  }
  return s3Storage({
    ...options,
    bucket: url.hostname,
    prefix,
    credentials: {
      accessKeyId,
      secretAccessKey,
      ...(sessionToken === undefined ? {} : { sessionToken }),
    },
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(region === undefined ? {} : { region }),
    ...(pathStyle === undefined ? {} : { pathStyle: pathStyle === "true" }),
  });
}

async function openGcs({ url, prefix, env, options }: Place): Promise<Storage> {
  const file = env.GOOGLE_APPLICATION_CREDENTIALS;
  const endpoint = parameter(url, "endpoint");
  const key = file === undefined ? undefined : parseKey(file, await readFile(file, "utf8"));
  return gcsStorage({
    ...options,
    bucket: url.hostname,
    prefix,
    ...(key === undefined ? {} : { key }),
    ...(endpoint === undefined ? {} : { endpoint }),
  });
}

function parseKey(file: string, text: string): GoogleKey {
  const key = JSON.parse(text) as Partial<GoogleKey>;
  const { client_email, private_key, token_uri } = key;
  if (client_email === undefined || private_key === undefined) {
    throw invalid(`${file} is not the key of a service account`);
  }
  return { client_email, private_key, ...(token_uri === undefined ? {} : { token_uri }) };
}

function openAzure({ url, prefix, env, options }: Place): Storage {
  const account = url.username || env.AZURE_STORAGE_ACCOUNT;
  const key = env.AZURE_STORAGE_KEY ?? env.LITESTREAM_AZURE_ACCOUNT_KEY;
  const sas = env.AZURE_STORAGE_SAS_TOKEN;
  if (account === undefined)
    throw invalid("abs:// wants an account: abs://account@container/prefix");
  if (key === undefined && sas === undefined) {
    throw invalid("abs:// wants AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN in the environment");
  }
  const endpoint = parameter(url, "endpoint");
  return azureStorage({
    ...options,
    account,
    container: url.hostname,
    prefix,
    ...(sas === undefined ? {} : { sas }),
    ...(key === undefined ? {} : { key }),
    ...(endpoint === undefined ? {} : { endpoint }),
  });
}

function openWebDav({ url, env, options }: Place): Storage {
  const password = env.WEBDAV_PASSWORD;
  return webDavStorage({
    ...options,
    url: url.href.replace(/^webdav/, "http"),
    ...(url.password !== "" || password === undefined ? {} : { password }),
  });
}

/** `ftps:` asks for TLS on the usual port; `implicit=true` is the older way, on another one. */
function openFtp({ url, prefix, env, options }: Place): Storage {
  const password = decodeURIComponent(url.password) || env.FTP_PASSWORD;
  const implicit = parameter(url, "implicit") ?? "false";
  if (implicit !== "true" && implicit !== "false") throw invalid("implicit is true or false");
  return ftpStorage({
    ...options,
    host: url.hostname,
    path: `/${prefix}`,
    secure: url.protocol === "ftps:" && (implicit === "true" ? "implicit" : true),
    ...(url.username === "" ? {} : { username: decodeURIComponent(url.username) }),
    ...(url.port === "" ? {} : { port: Number(url.port) }),
    ...(password === undefined ? {} : { password }),
  });
}

/** The path is the server's, from its root on. */
async function openSftp({ url, prefix, env, options: all }: Place): Promise<Storage> {
  const { ca: _, ...options } = all;
  const file = env.SFTP_KEY_FILE;
  const password = decodeURIComponent(url.password) || env.SFTP_PASSWORD;
  const privateKey = file === undefined ? undefined : await readFile(file, "utf8");
  const hostKey = parameter(url, "host-key");
  if (url.username === "") throw invalid("sftp:// wants a user: sftp://user@host/folder");
  return sftpStorage({
    ...options,
    host: url.hostname,
    username: decodeURIComponent(url.username),
    path: `/${prefix}`,
    ...(url.port === "" ? {} : { port: Number(url.port) }),
    ...(password === undefined ? {} : { password }),
    ...(privateKey === undefined ? {} : { privateKey }),
    ...(hostKey === undefined ? {} : { hostKey }),
  });
}

function parameter(url: URL, name: string): string | undefined {
  return url.searchParams.get(name) ?? undefined;
}

function invalid(message: string): ReplicaError {
  return new ReplicaError("INVALID_OPTION", message);
}
