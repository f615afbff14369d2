/** Tokens that connections are let in by: `Authorization: Bearer …` in their handshake. */
import { createHash, timingSafeEqual } from "node:crypto";

/**
 * For `authorize` of a listener: whether the handshake has this token, found out in the same time
 * whatever it has.
 */
export function authorizeBearer(
  token: string,
): (request: { readonly headers: { readonly authorization?: string | undefined } }) => boolean {
  return ({ headers }) => isBearer(token, headers.authorization);
}

export function isBearer(token: string, header: string | null | undefined): boolean {
  return timingSafeEqual(digestOf(header ?? ""), digestOf(`Bearer ${token}`));
}

function digestOf(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
