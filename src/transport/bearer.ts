/** Tokens that connections are let in by: `Authorization: Bearer …` in their handshake. */
import { createHash, timingSafeEqual } from "node:crypto";
import { kindOf } from "../arguments.ts";

/**
 * For `authorize` of a listener: whether the handshake has this token, found out in the same time
 * whatever it has. A token is printable ASCII without spaces.
 * @throws TypeError, so that a variable that is not set lets nobody in
 */
export function authorizeBearer(
  token: string,
): (request: { readonly headers: { readonly authorization?: string | undefined } }) => boolean {
  if (!isToken(token)) {
    const given = typeof token === "string" ? "this one" : kindOf(token);
    throw new TypeError(`a token is printable ASCII without spaces, not ${given}`);
  }
  return ({ headers }) => isBearer(token, headers.authorization);
}

export function isToken(token: unknown): token is string {
  return typeof token === "string" && /^[!-~]{1,4096}$/.test(token);
}

export function isBearer(token: string, header: string | null | undefined): boolean {
  return timingSafeEqual(digestOf(header ?? ""), digestOf(`Bearer ${token}`));
}

function digestOf(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
