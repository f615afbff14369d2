/** Reading one's own writes over HTTP: the same few rules for every framework's middleware. */
import { checkNames } from "../arguments.ts";
import { type Clock, systemClock } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import type { Replica } from "../replica.ts";
import { formatToken, parseToken, parseTokens } from "../token.ts";

/** On the answer to a write: its token. On a request: what it wants to see. */
export const tokenHeader = "mergelite-token";

export interface TokenGateOptions {
  /** How long a request may wait for what it wants to see, in ms. @default 1000 */
  readonly waitMs?: number;
  /** When to try again, told to a request that waited in vain, in seconds. @default 1 */
  readonly retryAfterS?: number;
  /** @default the system's clock */
  readonly clock?: Clock;
}

/** What to answer instead of going on. */
export interface Refusal {
  readonly status: 400 | 503;
  readonly headers: Readonly<Record<string, string>>;
  readonly message: string;
}

export interface TokenGate {
  /**
   * Waits until this replica shows what the request's header stands for, a list of tokens. Resolves
   * to what to answer when that takes too long (503), or is no list of tokens (400).
   */
  enter(header: string | null | undefined): Promise<Refusal | undefined>;
  /**
   * The header of an answer to a write: everything written here so far, and what the request asked
   * for. A client keeps the last one only.
   */
  leave(header: string | null | undefined): string;
}

/** A client writes to a few peers; a longer list is not one of ours. */
const tokensMax = 64;

export function tokenGate(replica: Replica, options: TokenGateOptions = {}): TokenGate {
  checkNames(options, ["waitMs", "retryAfterS", "clock"]);
  const { waitMs = 1_000, retryAfterS = 1, clock = systemClock } = options;
  return {
    async enter(header) {
      const timeout = new AbortController();
      const cancel = clock.setTimer(waitMs, () => timeout.abort());
      try {
        for (const [peerId, sequence] of parseList(header)) {
          await replica.wait(formatToken({ peerId, sequence }), timeout);
        }
        return undefined;
      } catch (error) {
        if (error instanceof ReplicaError && error.code === "INVALID_TOKEN") {
          return { status: 400, headers: {}, message: error.message };
        }
        const headers = { "retry-after": String(retryAfterS) };
        return { status: 503, headers, message: "this server has not seen your write yet" };
      } finally {
        cancel();
      }
    },
    leave(header) {
      const tokens = parseList(header);
      const { peerId, sequence } = parseToken(replica.token());
      // The last to go when there are too many.
      tokens.delete(peerId);
      if (sequence > 0) tokens.set(peerId, sequence);
      return [...tokens]
        .slice(-tokensMax)
        .map(([peer, last]) => formatToken({ peerId: peer, sequence: last }))
        .join(", ");
    },
  };
}

/** The highest sequence of each peer. @throws INVALID_TOKEN */
function parseList(header: string | null | undefined): Map<number, number> {
  const tokens = new Map<number, number>();
  if (header === null || header === undefined || header.trim() === "") return tokens;
  const texts = header.split(",", tokensMax + 1);
  if (texts.length > tokensMax) {
    throw new ReplicaError("INVALID_TOKEN", `more than ${tokensMax} tokens`);
  }
  for (const { peerId, sequence } of texts.flatMap((text) => parseTokens(text.trim()))) {
    tokens.set(peerId, Math.max(sequence, tokens.get(peerId) ?? 0));
  }
  return tokens;
}
