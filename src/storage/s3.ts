/** Amazon S3, and everything that speaks its protocol. */
import { checkNames } from "../arguments.ts";
import { systemClock } from "../clock.ts";
import { payloadHash, type S3Credentials, signedHeaders } from "./aws-signature.ts";
import { HttpClient, type HttpOptions, httpNames, nameAt } from "./http.ts";
import { type ManagedOptions, ManagedStorage, managedNames } from "./managed.ts";
import { partBytesDefault } from "./parts.ts";
import { S3Driver } from "./s3-protocol.ts";
import type { Storage } from "./storage.ts";

export type { S3Credentials } from "./aws-signature.ts";

export interface S3Options extends ManagedOptions, HttpOptions {
  readonly bucket: string;
  /** What comes before all keys, without a slash at its end. @default "" */
  readonly prefix?: string;
  /** Asked anew for each request when it is a function, so that they may expire. */
  readonly credentials: S3Credentials | (() => Promise<S3Credentials>);
  /** @default "us-east-1" */
  readonly region?: string;
  /** A compatible server's. @default Amazon's for the region */
  readonly endpoint?: string;
  /** The bucket in the path instead of the host's name. @default with an endpoint */
  readonly pathStyle?: boolean;
  /** Larger objects go in parts, of this size at first; at least 5 MiB. @default 8388608 */
  readonly partBytes?: number;
  /** Sent with every put, such as `x-amz-server-side-encryption`; names in lower case. */
  readonly putHeaders?: Readonly<Record<string, string>>;
}

const names = [
  "bucket",
  "prefix",
  "credentials",
  "region",
  "endpoint",
  "pathStyle",
  "partBytes",
  "putHeaders",
];

export function s3Storage(options: S3Options): Storage {
  checkNames(options, [...managedNames, ...httpNames, ...names]);
  const { bucket, prefix = "", region = "us-east-1", credentials, clock = systemClock } = options;
  const dialect = {
    kind: "s3",
    name: nameAt(options.endpoint, `s3://${bucket}${prefix === "" ? "" : `/${prefix}`}`),
    base: baseOf(options, region),
    prefix,
    region,
    metadataPrefix: "x-amz-meta-",
    ifAbsent: { "if-none-match": "*" },
    partBytes: options.partBytes ?? partBytesDefault,
    putHeaders: options.putHeaders ?? {},
    authorize: async (
      request: { method: string; url: URL; headers: Readonly<Record<string, string>> },
      body: Uint8Array,
    ) => {
      // Over TLS nothing is altered on the way, and hashing it all takes longer than sending it.
      const isLong = body.length > 0 && request.url.protocol === "https:";
      const payload = isLong ? "UNSIGNED-PAYLOAD" : await payloadHash(body);
      const current = typeof credentials === "function" ? await credentials() : credentials;
      const signing = { credentials: current, region, nowMs: clock.now() };
      return signedHeaders({ ...request, payload }, signing);
    },
  } as const;
  return new ManagedStorage(new S3Driver(dialect, new HttpClient(options), options), options);
}

function baseOf({ bucket, endpoint, pathStyle }: S3Options, region: string): URL {
  const base = new URL(endpoint ?? `https://s3.${region}.amazonaws.com`);
  if (pathStyle ?? endpoint !== undefined) {
    base.pathname = `${base.pathname.replace(/\/$/, "")}/${bucket}`;
  } else {
    base.hostname = `${bucket}.${base.hostname}`;
  }
  return base;
}
