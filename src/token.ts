/** Tokens: proof of a write, `peer.sequence`, for reading one's own writes on another peer. */
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
    throw new ReplicaError("INVALID_TOKEN", `not a token: ${JSON.stringify(token.slice(0, 60))}`, {
      hint: "Pass what `token()` of the writing replica returned, unchanged.",
    });
  }
  return { peerId, sequence };
}
