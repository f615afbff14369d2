/** One side's ear: messages one at a time, and an end when there are none for too long. */
import type { Clock } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import type { Transport } from "../transport/transport.ts";

export class Conversation<Message> {
  readonly #transport: Transport;
  readonly #messages: AsyncIterator<Uint8Array>;
  readonly #decode: (message: Uint8Array) => Message;
  readonly #clock: Clock;
  silenceMs: number;

  constructor(
    transport: Transport,
    {
      decode,
      clock,
      silenceMs,
    }: { decode: (message: Uint8Array) => Message; clock: Clock; silenceMs: number },
  ) {
    this.#transport = transport;
    this.#messages = transport.messages[Symbol.asyncIterator]();
    this.#decode = decode;
    this.#clock = clock;
    this.silenceMs = silenceMs;
  }

  /** Only the time in which somebody waits for it counts as silence. */
  async next(): Promise<Message> {
    let isSilent = false;
    const cancel = this.#clock.setTimer(this.silenceMs, () => {
      isSilent = true;
      void hangUp(this.#transport);
    });
    try {
      const { done, value } = await this.#messages.next();
      if (done !== true) return this.#decode(value);
    } catch (error) {
      if (!isSilent) throw error;
    } finally {
      cancel();
    }
    const { name = "the connection" } = this.#transport;
    if (!isSilent) throw new ReplicaError("TRANSPORT_CLOSED", `${name} was closed`);
    const silence = `${name}: nothing was heard for ${this.silenceMs} ms`;
    throw new ReplicaError("TRANSPORT_FAILED", silence);
  }
}

export async function hangUp(transport: Transport): Promise<void> {
  try {
    await transport.close?.();
  } catch {
    // It is over in any case.
  }
}
