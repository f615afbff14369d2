/** Google Cloud Storage, through its XML interface. */
import { checkNames } from "../arguments.ts";
import { systemClock } from "../clock.ts";
import { type GoogleKey, GoogleTokens } from "./google-token.ts";
import { HttpClient, type HttpOptions, httpNames, nameAt } from "./http.ts";
import { type ManagedOptions, ManagedStorage, managedNames } from "./managed.ts";
import { partBytesDefault } from "./parts.ts";
import { S3Driver } from "./s3-protocol.ts";
import type { Storage } from "./storage.ts";

export type { GoogleKey } from "./google-token.ts";

export interface GcsOptions extends ManagedOptions, HttpOptions {
  readonly bucket: string;
  /** What comes before all keys, without a slash at its end. @default "" */
  readonly prefix?: string;
  /** Of a service account. @default the account of the machine, if Google runs it */
  readonly key?: GoogleKey;
  /** Gives an access token, in place of a key; asked for each request. */
  readonly token?: () => Promise<string>;
  /** @default "https://storage.googleapis.com" */
  readonly endpoint?: string;
  /** Larger objects go in parts, of this size at first; at least 5 MiB. @default 8388608 */
  readonly partBytes?: number;
}

const names = ["bucket", "prefix", "key", "token", "endpoint", "partBytes"];

export function gcsStorage(options: GcsOptions): Storage {
  checkNames(options, [...managedNames, ...httpNames, ...names]);
  const { bucket, prefix = "", clock = systemClock } = options;
  const http = new HttpClient(options);
  const tokens = new GoogleTokens(http, clock, options.key);
  const token = options.token ?? (() => tokens.get());
  const dialect = {
    kind: "gcs",
    name: nameAt(options.endpoint, `gs://${bucket}${prefix === "" ? "" : `/${prefix}`}`),
    base: new URL(`${options.endpoint ?? "https://storage.googleapis.com"}/${bucket}`),
    prefix,
    region: "",
    metadataPrefix: "x-goog-meta-",
    ifAbsent: { "x-goog-if-generation-match": "0" },
    partBytes: options.partBytes ?? partBytesDefault,
    putHeaders: {},
    authorize: async ({ headers }: { headers: Readonly<Record<string, string>> }) => ({
      ...headers,
      authorization: `Bearer ${await token()}`,
    }),
  } as const;
  return new ManagedStorage(new S3Driver(dialect, http, options), options);
}
