/** What the command line says about certificates and tokens. */
import { createHash, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import type { TlsCredentials } from "../transport/tls.ts";
import type { OptionSpec, Values } from "./command.ts";
import { Failure, usageFailure } from "./failure.ts";

export const credentialOptions: Readonly<Record<"cert" | "key" | "ca" | "token", OptionSpec>> = {
  cert: { type: "string", value: "FILE", help: "this side's certificate chain, PEM" },
  key: { type: "string", value: "FILE", help: "its private key, PEM" },
  ca: { type: "string", value: "FILE", help: "trust certificates that these have signed, PEM" },
  token: {
    type: "string",
    value: "TOKEN",
    help: "bearer token to send, and to ask for, over ws and http (or MERGELITE_TOKEN)",
  },
};

export interface Credentials {
  /** For dialling. */
  readonly tls: TlsCredentials;
  /** For listening. */
  readonly identity: { readonly cert: Buffer; readonly key: Buffer } | undefined;
  readonly token: string | undefined;
}

export function readCredentials(values: Values): Credentials {
  const [cert, key, ca] = ["cert", "key", "ca"].map((name) => readPem(name, values.text(name)));
  if ((cert === undefined) !== (key === undefined)) {
    throw usageFailure("--cert and --key belong together");
  }
  const identity = cert !== undefined && key !== undefined ? { cert, key } : undefined;
  const tls = { ...identity, ...(ca === undefined ? {} : { ca }) };
  return { tls, identity, token: values.text("token") ?? process.env.MERGELITE_TOKEN };
}

/** As a header to send. */
export function headersOf({ token }: Credentials): Record<string, string> {
  return token === undefined ? {} : { authorization: `Bearer ${token}` };
}

/** Whether a header proves the token; in the same time whatever it says. */
export function isAuthorized({ token }: Credentials, header: string | null | undefined): boolean {
  if (token === undefined) return true;
  const [given, wanted] = [header ?? "", `Bearer ${token}`].map((text) =>
    createHash("sha256").update(text).digest(),
  );
  return given !== undefined && wanted !== undefined && timingSafeEqual(given, wanted);
}

function readPem(option: string, file: string | undefined): Buffer | undefined {
  if (file === undefined) return undefined;
  try {
    return readFileSync(file);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Failure(`--${option}: ${why}`, { cause });
  }
}
