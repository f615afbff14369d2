/** Requests signed as Azure wants it (Shared Key). */
import { createHmac } from "node:crypto";

export interface AzureRequest {
  readonly method: string;
  readonly url: URL;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly account: string;
  /** Of the body. */
  readonly bytes: number;
}

/** The `authorization` header; `key` is one of the account's, in base64. */
export function sharedKey(request: AzureRequest, key: string): string {
  const hmac = createHmac("sha256", Buffer.from(key, "base64")).update(stringToSign(request));
  return `SharedKey ${request.account}:${hmac.digest("base64")}`;
}

function stringToSign({ method, url, headers, account, bytes }: AzureRequest): string {
  const named = Object.keys(headers)
    .filter((name) => name.startsWith("x-ms-"))
    .sort()
    .map((name) => `${name}:${headers[name]}`);
  const query = [...url.searchParams]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${name.toLowerCase()}:${value}`);
  const resource = [`/${account}${url.pathname}`, ...query];
  const length = bytes === 0 ? "" : String(bytes);
  // Encoding, language, MD5, type, date, and the conditions that are not used, are empty.
  const fixed = [
    method,
    "",
    "",
    length,
    "",
    "",
    "",
    "",
    "",
    headers["if-none-match"] ?? "",
    "",
    "",
  ];
  return [...fixed, ...named, ...resource].join("\n");
}
