/** What the command line says about certificates and tokens. */
import { readFileSync } from "node:fs";
import { messageOf } from "../errors.ts";
import { isBearer, isToken } from "../transport/bearer.ts";
import type { TlsCredentials } from "../transport/tls.ts";
import type { OptionSpec, Values } from "./command.ts";
import { Failure, usageFailure } from "./failure.ts";

export const credentialOptions: Readonly<
  Record<"cert" | "key" | "ca" | "token" | "token-file", OptionSpec>
> = {
  cert: { type: "string", value: "FILE", help: "this side's certificate chain, PEM" },
  key: { type: "string", value: "FILE", help: "its private key, PEM" },
  ca: { type: "string", value: "FILE", help: "trust certificates that these have signed, PEM" },
  token: {
    type: "string",
    value: "TOKEN",
    help: "bearer token to send, and to ask for, over ws and http (or MERGELITE_TOKEN)",
  },
  "token-file": { type: "string", value: "FILE", help: "the token is what this file holds" },
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
  return { tls, identity, token: readToken(values) };
}

function readToken(values: Values): string | undefined {
  const token = values.text("token");
  const file = values.text("token-file");
  if (file === undefined) return checkToken(token ?? process.env.MERGELITE_TOKEN);
  if (token !== undefined) throw usageFailure("--token and --token-file exclude each other");
  const read = readCredentialFile("token-file", file).toString().trim();
  if (isToken(read)) return read;
  throw new Failure(`--token-file: ${file} does not hold a token`, {
    hint: "Write one line of printable ASCII without spaces into it.",
  });
}

/** An empty one is a variable that somebody forgot to set, and would let everyone in. */
function checkToken(token: string | undefined): string | undefined {
  if (token === "") throw usageFailure("the token is empty: unset MERGELITE_TOKEN, or set it");
  if (token === undefined || isToken(token)) return token;
  throw usageFailure("the token is not printable ASCII without spaces");
}

/** As a header to send. */
export function headersOf({ token }: Credentials): Record<string, string> {
  return token === undefined ? {} : { authorization: `Bearer ${token}` };
}

/** Whether a header proves the token; in the same time whatever it says. */
export function isAuthorized({ token }: Credentials, header: string | null | undefined): boolean {
  return token === undefined || isBearer(token, header);
}

function readPem(option: string, file: string | undefined): Buffer | undefined {
  return file === undefined ? undefined : readCredentialFile(option, file);
}

function readCredentialFile(option: string, file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (cause) {
    const why = messageOf(cause);
    throw new Failure(`--${option}: ${why}`, { cause });
  }
}
