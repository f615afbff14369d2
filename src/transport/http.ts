/**
 * The dialling side of HTTP: messages are POSTed, and GETs wait for those of the other side. For
 * places where nothing else gets through; a WebSocket costs less. Messages of one answer come in
 * order. A request that fails ends the transport, and what it carried may be lost.
 */
import type { IncomingMessage } from "node:http";
import { checkNames } from "../arguments.ts";
import { type Clock, systemClock } from "../clock.ts";
import { HttpClient, type HttpClientOptions, readFrames } from "./http-client.ts";
import { Inbox, inboxLimits } from "./inbox.ts";
import { Outbox } from "./outbox.ts";
import { type Dialer, failedError, type Transport } from "./transport.ts";

export interface HttpOptions extends HttpClientOptions {
  /** @default the system's clock */
  readonly clock?: Clock;
  /** How long to wait for the first answer. @default 10000 */
  readonly connectTimeoutMs?: number;
}

/** Carries the session's id, which no one else can know. */
export const sessionHeader = "mergelite-session";

/** A server answers a GET sooner, whether it has something or not. */
const pollMs = 90_000;
/** How long a closing side tries to get out what was sent. */
const lingerMs = 2_000;

/** Dials `http://` or `https://`, where an `httpEndpoint` answers. */
export function httpTransport(url: string, options: HttpOptions = {}): Dialer {
  checkNames(options, ["headers", "tls", "clock", "connectTimeoutMs"]);
  const { clock = systemClock, connectTimeoutMs = 10_000 } = options;
  // A typing mistake is told at once.
  new HttpClient(url, options).close();
  return {
    name: url,
    async dial(signal) {
      signal.throwIfAborted();
      const client = new HttpClient(url, options);
      const timeout = new AbortController();
      const cancel = clock.setTimer(connectTimeoutMs, () => {
        timeout.abort(failedError(url, "it did not answer"));
      });
      try {
        const giveUp = AbortSignal.any([signal, timeout.signal]);
        const answer = await client.request({ method: "POST", signal: giveUp });
        answer.resume();
        const session = answer.headers[sessionHeader];
        if (answer.statusCode === 201 && typeof session === "string") {
          return new HttpTransport(client, { session, clock });
        }
        throw unexpected(url, answer);
      } catch (error) {
        client.close();
        throw error;
      } finally {
        cancel();
      }
    },
  };
}

class HttpTransport implements Transport {
  readonly name: string;
  readonly messages: Inbox;
  readonly #client: HttpClient;
  readonly #clock: Clock;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #outbox: Outbox;
  /** Ends what is under way. */
  readonly #abort = new AbortController();
  #onRoom: (() => void) | undefined;
  #posting: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  constructor(client: HttpClient, { session, clock }: { session: string; clock: Clock }) {
    this.name = client.url;
    this.#client = client;
    this.#clock = clock;
    this.#headers = { [sessionHeader]: session };
    this.messages = new Inbox(inboxLimits, () => this.#onRoom?.());
    this.#outbox = new Outbox(this.name, () => {
      this.#posting ??= this.#post();
    });
    void this.#poll();
  }

  send(message: Uint8Array): Promise<void> {
    return this.#outbox.send(message);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.messages.end();
    this.#onRoom?.();
    this.#outbox.end();
    const hurry = new AbortController();
    const cancel = this.#clock.setTimer(lingerMs, () => {
      hurry.abort();
      this.#abort.abort();
    });
    await this.#posting;
    this.#abort.abort();
    const goodbye = { method: "DELETE", headers: this.#headers, signal: hurry.signal } as const;
    // Whether it arrives or not: without it the session expires.
    const answer = await this.#client.request(goodbye).catch(() => undefined);
    answer?.resume();
    cancel();
    this.#client.close();
  }

  async #poll(): Promise<void> {
    try {
      // When this side closes, there is nothing to fetch any more, but still something to send.
      while (!this.messages.isEnded) if (await this.#pollOnce()) this.#ended();
    } catch (error) {
      this.#ended(error);
    }
  }

  /** Whether the other side has ended the session. */
  async #pollOnce(): Promise<boolean> {
    const timeout = new AbortController();
    const cancel = this.#clock.setTimer(pollMs, () => timeout.abort());
    const signal = AbortSignal.any([this.#abort.signal, timeout.signal]);
    let answer: IncomingMessage;
    try {
      answer = await this.#client.request({ method: "GET", headers: this.#headers, signal });
    } finally {
      cancel();
    }
    if (answer.statusCode === 200) {
      for await (const message of readFrames(answer, this.name)) {
        this.messages.push(message);
        while (this.messages.isFull && !this.messages.isEnded) await this.#room();
      }
      return false;
    }
    answer.resume();
    if (answer.statusCode === 410) return true;
    if (answer.statusCode === 204) return false;
    throw unexpected(this.name, answer);
  }

  #room(): Promise<void> {
    return new Promise((resolve) => {
      this.#onRoom = resolve;
    });
  }

  async #post(): Promise<void> {
    try {
      while (!this.#outbox.isEmpty) {
        const messages = this.#outbox.take();
        const { signal } = this.#abort;
        const headers = this.#headers;
        const answer = await this.#client.request({ method: "POST", headers, messages, signal });
        answer.resume();
        if (answer.statusCode === 410) this.#ended();
        else if (answer.statusCode !== 204) throw unexpected(this.name, answer);
      }
    } catch (error) {
      this.#ended(error);
    } finally {
      this.#posting = undefined;
    }
  }

  #ended(cause?: unknown): void {
    this.#outbox.end();
    this.#abort.abort();
    if (cause === undefined) this.messages.end();
    else this.messages.end(cause instanceof Error ? cause : failedError(this.name, cause));
  }
}

function unexpected(url: string, { statusCode, statusMessage }: IncomingMessage): Error {
  return failedError(url, `the answer was ${statusCode} ${statusMessage}`);
}
