/**
 * The seam to the network. A transport carries whole messages; it may lose, repeat and reorder
 * them, but never alters or truncates one.
 */

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
  /** Rejects with `signal.reason` when aborted, else with TRANSPORT_FAILED. */
  dial(signal: AbortSignal): Promise<Transport>;
}

export interface Listener {
  readonly port: number;
  /** Stops listening and closes the transports. */
  close(): Promise<void>;
}
