/**
 * The seam to the network. A transport carries whole messages; it may lose, repeat and reorder
 * them, but never alters or truncates one.
 */

import { kindOf } from "../arguments.ts";
import { messageOf, ReplicaError } from "../errors.ts";

/** No message is larger, so no receiver has to make room for more. */
export const messageBytesMax: number = 64 * 1024 * 1024;

export interface Transport {
  /** For logs and metrics, e.g. `tcp://10.0.0.7:4100`. */
  readonly name?: string;
  /**
   * Incoming messages, for one consumer. Ends when the other side closed in good order, throws
   * `ReplicaError` when the transport failed. Reading slowly slows the sender down.
   */
  readonly messages: AsyncIterable<Uint8Array>;
  /**
   * Resolves when the transport has room for more, which is not when the message has arrived. The
   * bytes belong to the transport from here on: they must not be changed.
   * @throws MESSAGE_TOO_LARGE, TRANSPORT_CLOSED, TRANSPORT_FAILED
   */
  send(message: Uint8Array): Promise<void>;
  /** Idempotent. Ends `messages` on both sides. */
  close?(): void | Promise<void>;
}

/** Makes transports to one place, one at a time; the caller decides when to dial again. */
export interface Dialer {
  readonly name: string;
  /** Rejects with `signal.reason` when aborted, else with TRANSPORT_FAILED or TRANSPORT_REFUSED. */
  dial(signal: AbortSignal): Promise<Transport>;
}

export interface Listener {
  readonly port: number;
  /** Stops listening and closes the transports. */
  close(): Promise<void>;
}

/** @throws TypeError */
export function checkTransport(to: unknown): void {
  if (typeof to === "object" && to !== null && ("dial" in to || "messages" in to)) return;
  const example = 'for instance webSocketTransport("wss://host")';
  throw new TypeError(`connect takes a transport, ${example}, not ${kindOf(to)}`);
}

/** Every transport refuses what no receiver has to take. @throws MESSAGE_TOO_LARGE */
export function checkSize(message: Uint8Array): void {
  if (message.byteLength <= messageBytesMax) return;
  throw new ReplicaError("MESSAGE_TOO_LARGE", `message of ${message.byteLength} bytes`);
}

export function closedError(name: string): ReplicaError {
  return new ReplicaError("TRANSPORT_CLOSED", `${name} is closed`);
}

/** `what` did not work, or works no longer. */
export function failedError(what: string, cause: unknown): ReplicaError {
  const why = messageOf(cause);
  return new ReplicaError("TRANSPORT_FAILED", `${what}: ${why}`, { cause });
}

/** The other side answered that this one may not connect. */
export function refusedError(name: string, options: { cause?: unknown } = {}): ReplicaError {
  return new ReplicaError("TRANSPORT_REFUSED", `${name} does not let this peer in`, {
    ...options,
    hint: "Check the token, headers or certificate this side sends.",
  });
}
