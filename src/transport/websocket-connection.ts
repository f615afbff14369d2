/** One WebSocket as a transport; both the dialling and the listening side use it. */
import type { Clock } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import { Inbox, inboxLimits } from "./inbox.ts";
import {
  checkSize,
  closedError,
  messageBytesMax,
  refusedError,
  type Transport,
} from "./transport.ts";

/** What is used of a WHATWG `WebSocket`. */
export interface WebSocketLike {
  binaryType: string;
  readonly bufferedAmount: number;
  readonly readyState: number;
  send(data: Uint8Array<ArrayBuffer>): void;
  close(code?: number, reason?: string): void;
  addEventListener(type: WebSocketEvent["type"], listener: (event: WebSocketEvent) => void): void;
  /** `ws` only: stops reading, so that the sender feels it. */
  pause?(): void;
  resume?(): void;
}

/** The parts of the events' types that are used, each there where the type has it. */
export interface WebSocketEvent {
  readonly type: string;
  readonly data?: unknown;
  readonly code?: number;
  readonly error?: unknown;
}

/** `send` waits while more than this is buffered. */
const bufferedBytesMax = 1024 * 1024;
/** WHATWG sockets do not tell when their buffer empties. */
const bufferPollMs = 5;
const openState = 1;
const closeCodes = { normal: 1000, notBinary: 1003, tooLarge: 1009, overloaded: 1013 } as const;
/** The other side closed, went away, or gave no code: an end, not a failure. */
const orderlyCodes: readonly number[] = [1000, 1001, 1005];

export class WebSocketConnection implements Transport {
  readonly name: string;
  readonly messages: Inbox;
  readonly #socket: WebSocketLike;
  readonly #clock: Clock;
  #error: unknown;

  constructor(socket: WebSocketLike, { name, clock }: { name: string; clock: Clock }) {
    this.name = name;
    this.#socket = socket;
    this.#clock = clock;
    this.messages = new Inbox(inboxLimits, () => socket.resume?.());
    socket.binaryType = "arraybuffer";
    socket.addEventListener("message", (event) => this.#receive(event.data));
    socket.addEventListener("error", (event) => {
      this.#error = event.error ?? event;
    });
    socket.addEventListener("close", (event) => this.#closed(event.code));
  }

  /** Resolves when the handshake is done. */
  opened(signal: AbortSignal, timeoutMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = () => {
        cancelTimer();
        signal.removeEventListener("abort", onAbort);
      };
      const giveUp = (reason: unknown) => {
        settle();
        // Some close at once and report it as a failed handshake: the reason comes first.
        reject(reason);
        this.#socket.close();
      };
      const onAbort = () => giveUp(signal.reason);
      const cancelTimer = this.#clock.setTimer(timeoutMs, () =>
        giveUp(this.#failure("did not answer")),
      );
      signal.addEventListener("abort", onAbort, { once: true });
      this.#socket.addEventListener("open", () => {
        settle();
        resolve();
      });
      this.#socket.addEventListener("close", () => {
        settle();
        reject(this.#refusal() ?? this.#failure("the handshake failed"));
      });
    });
  }

  async send(message: Uint8Array): Promise<void> {
    checkSize(message);
    this.#needOpen();
    // A view of shared memory is not accepted by `send`; messages never are one.
    this.#socket.send(message as Uint8Array<ArrayBuffer>);
    while (this.#socket.bufferedAmount > bufferedBytesMax) {
      await new Promise<void>((resolve) => this.#clock.setTimer(bufferPollMs, resolve));
      this.#needOpen();
    }
  }

  close(): void {
    this.messages.end();
    // A paused socket would never see the other side's answer to the closing handshake.
    this.#socket.resume?.();
    this.#socket.close(closeCodes.normal);
  }

  #receive(data: unknown): void {
    if (this.messages.isEnded) return;
    if (!(data instanceof ArrayBuffer)) {
      this.#refuse(closeCodes.notBinary, "PROTOCOL_MALFORMED", "a message is not binary");
    } else if (data.byteLength > messageBytesMax) {
      this.#refuse(closeCodes.tooLarge, "MESSAGE_TOO_LARGE", `message of ${data.byteLength} bytes`);
    } else if (this.messages.isFull && this.#socket.pause === undefined) {
      this.#refuse(closeCodes.overloaded, "TRANSPORT_OVERLOADED", "messages are not read");
    } else {
      this.messages.push(new Uint8Array(data));
      if (this.messages.isFull) this.#socket.pause?.();
    }
  }

  #refuse(
    closeCode: number,
    code: "PROTOCOL_MALFORMED" | "MESSAGE_TOO_LARGE" | "TRANSPORT_OVERLOADED",
    text: string,
  ): void {
    this.messages.end(new ReplicaError(code, `${this.name}: ${text}`));
    this.#socket.resume?.();
    this.#socket.close(closeCode, text);
  }

  #closed(code = 0): void {
    if (this.#error === undefined && orderlyCodes.includes(code)) this.messages.end();
    else this.messages.end(this.#failure(`closed with code ${code}`));
  }

  #failure(text: string): ReplicaError {
    const options = this.#error === undefined ? {} : { cause: this.#error };
    return new ReplicaError("TRANSPORT_FAILED", `${this.name}: ${text}`, options);
  }

  /** `ws` says with which status the handshake was refused, others do not. */
  #refusal(): ReplicaError | undefined {
    const text = this.#error instanceof Error ? this.#error.message : "";
    if (!/^Unexpected server response: 40[13]$/.test(text)) return undefined;
    return refusedError(this.name, { cause: this.#error });
  }

  #needOpen(): void {
    if (this.#socket.readyState !== openState) throw closedError(this.name);
  }
}
