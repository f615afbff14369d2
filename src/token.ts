/**
 * Tokens: proof of a write, `peer.sequence`, for reading one's own writes on another peer. Several
 * are joined by `_`, one for each peer: fit for headers, cookies and addresses.
 */
import { ReplicaError } from "./errors.ts";
import { peerIdMax, sequenceMax } from "./log/vector.ts";

export interface TokenParts {
  readonly peerId: number;
  readonly sequence: number;
}

export function formatToken({ peerId, sequence }: TokenParts): string {
  return `${peerId}.${sequence}`;
}

/** @throws INVALID_TOKEN */
export function parseToken(token: string): TokenParts {
  const match = /^([1-9]\d{0,15})\.(0|[1-9]\d{0,12})$/.exec(token);
  const peerId = Number(match?.[1]);
  const sequence = Number(match?.[2]);
  if (match === null || peerId > peerIdMax || sequence > sequenceMax) {
    throw new ReplicaError(
      "INVALID_TOKEN",
      `not a token: ${JSON.stringify(String(token).slice(0, 60))}`,
      {
        hint: "Pass what `token()` of the writing replica returned, unchanged.",
      },
    );
  }
  return { peerId, sequence };
}

/** A client writes to a few peers; a longer list is not one of ours. */
export const tokenPartsMax = 64;

/** What a token that may be combined stands for, the highest sequence of each peer. */
export function parseTokens(token: string): TokenParts[] {
  // Tokens come from headers and cookies, and may as well be missing.
  const texts = String(token).split("_", tokenPartsMax + 1);
  if (texts.length > tokenPartsMax) {
    throw new ReplicaError("INVALID_TOKEN", `a token of more than ${tokenPartsMax} peers`);
  }
  const sequences = new Map<number, number>();
  for (const text of texts) {
    const { peerId, sequence } = parseToken(text);
    sequences.set(peerId, Math.max(sequence, sequences.get(peerId) ?? 0));
  }
  return [...sequences].map(([peerId, sequence]) => ({ peerId, sequence }));
}

/**
 * One token for several writes, of any peers: waiting for it waits for all of them.
 * @throws INVALID_TOKEN, also for writes of more than 64 peers
 */
export function combineTokens(...tokens: readonly string[]): string {
  if (tokens.length === 0) throw new ReplicaError("INVALID_TOKEN", "no tokens to combine");
  const combined = parseTokens(
    tokens
      .flatMap((token) => parseTokens(token))
      .map(formatToken)
      .join("_"),
  );
  return combined.map(formatToken).join("_");
}
