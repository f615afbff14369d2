/** Two transports joined in memory: for tests, and for replicas in one process. */
import { checkNames } from "../arguments.ts";
import { Inbox, type InboxLimits, inboxLimits } from "./inbox.ts";
import { checkSize, closedError, type Transport } from "./transport.ts";

export type { Transport } from "./transport.ts";

/** What is sent on one comes out of the other, copied; a full queue makes `send` wait. */
export function memoryPair(limits: Partial<InboxLimits> = {}): [Transport, Transport] {
  checkNames(limits, Object.keys(inboxLimits));
  const left = new MemoryTransport("memory:left", { ...inboxLimits, ...limits });
  const right = new MemoryTransport("memory:right", { ...inboxLimits, ...limits });
  left.join(right);
  right.join(left);
  return [left, right];
}

class MemoryTransport implements Transport {
  readonly name: string;
  readonly messages: Inbox;
  #other: MemoryTransport | undefined;
  #roomWaiters: (() => void)[] = [];
  /** Sends wait for each other, so that none overtakes one that waits for room. */
  #lastSend: Promise<void> = Promise.resolve();

  constructor(name: string, limits: InboxLimits) {
    this.name = name;
    this.messages = new Inbox(limits, () => this.#wakeSenders());
  }

  join(other: MemoryTransport): void {
    this.#other = other;
  }

  async send(message: Uint8Array): Promise<void> {
    checkSize(message);
    const copy = message.slice();
    const sent = this.#lastSend.then(() => this.#deliver(copy));
    this.#lastSend = sent.catch(() => undefined);
    await sent;
  }

  close(): void {
    const other = this.#other;
    this.#other = undefined;
    this.messages.end();
    this.#wakeSenders();
    other?.close();
  }

  async #deliver(message: Uint8Array): Promise<void> {
    while (this.#other?.messages.isFull) await this.#other.#room();
    const other = this.#other;
    if (other === undefined || other.messages.isEnded) {
      throw closedError(this.name);
    }
    other.messages.push(message);
  }

  #room(): Promise<void> {
    return new Promise((resolve) => this.#roomWaiters.push(resolve));
  }

  #wakeSenders(): void {
    const waiters = this.#roomWaiters;
    this.#roomWaiters = [];
    for (const wake of waiters) wake();
  }
}
