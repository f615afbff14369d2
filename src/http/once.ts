/** One exchange with a peer over HTTP, for programs that do not stay. */
import { checkNames } from "../arguments.ts";
import { type Clock, systemClock } from "../clock.ts";
import { isReplicaErrorCode, ReplicaError } from "../errors.ts";
import { covers, mergeVector, type VersionVector, vectorPages } from "../log/vector.ts";
import type { Replica } from "../replica.ts";
import { decodeMessage, encodeMessage, type Hello } from "../sync/protocol.ts";
import { HttpClient, type HttpClientOptions, readFrames } from "../transport/http-client.ts";
import { failedError } from "../transport/transport.ts";
import { Exchange, endsMessage, exchangeHeader } from "./exchange.ts";

export interface SyncOnceOptions extends HttpClientOptions {
  /** Gives up. @default nothing does */
  readonly signal?: AbortSignal | undefined;
  /** @default the system's clock */
  readonly clock?: Clock;
}

export interface SyncedOnce {
  /** The peer that answered. */
  readonly peerId: number;
  /** How many requests it took. */
  readonly requests: number;
}

/** Requests in a row that bring nothing new, before it is given up. */
const idleRequestsMax = 6;
/** The first pause between them; each is twice as long as the one before. */
const idleMs = 100;

/**
 * Exchanges with the peer at `url`, an `httpEndpoint`, what each had at the beginning and the other
 * had not, and hangs up. A few requests, more when there are megabytes. Peers behind one URL may
 * take turns only if they serve one file.
 * @throws TRANSPORT_FAILED, TRANSPORT_REFUSED, LINK_TIMEOUT, what the peer refuses the link with,
 * or `signal.reason`
 */
export async function syncOnce(
  replica: Replica,
  url: string,
  options: SyncOnceOptions = {},
): Promise<SyncedOnce> {
  checkNames(options, ["headers", "tls", "signal", "clock"]);
  const client = new HttpClient(url, options);
  try {
    try {
      return await new OneSync(replica, client, options).run();
    } catch (error) {
      if (!(error instanceof ReplicaError) || error.code !== "IDENTITY_LOST") throw error;
      // The replica has a new identity now.
      return await new OneSync(replica, client, options).run();
    }
  } finally {
    client.close();
  }
}

class OneSync {
  readonly #replica: Replica;
  readonly #client: HttpClient;
  readonly #signal: AbortSignal;
  readonly #clock: Clock;
  readonly #exchange: Exchange;
  /** What the peer holds, by its own words. */
  readonly #remote: VersionVector = new Map();
  /** Parts of the peer's rows that have come, for a replica that its log does not reach. */
  #chunks = 0;
  #remoteHello: Hello | undefined;
  #ownHello: Hello | undefined;

  constructor(replica: Replica, client: HttpClient, options: SyncOnceOptions) {
    this.#replica = replica;
    this.#client = client;
    this.#signal = options.signal ?? new AbortController().signal;
    this.#clock = options.clock ?? systemClock;
    this.#exchange = new Exchange(client.url, this.#clock);
  }

  async run(): Promise<SyncedOnce> {
    this.#signal.throwIfAborted();
    const ours = this.#held();
    const connection = this.#replica.connect(this.#exchange);
    try {
      let theirs: VersionVector | undefined;
      let idleRequests = 0;
      for (let requests = 1; ; requests++) {
        const before = this.#progress();
        await this.#request();
        theirs ??= new Map(this.#remote);
        if (covers(this.#remote, ours) && covers(this.#held(), theirs)) {
          const peerId = this.#remoteHello?.peerId ?? 0;
          if (peerId === this.#replica.peerId) {
            throw new ReplicaError("PEER_ID_IN_USE", `${this.#client.url} has this peer's own id`);
          }
          return { peerId, requests };
        }
        idleRequests = this.#progress() > before ? 0 : idleRequests + 1;
        if (idleRequests === idleRequestsMax) {
          throw new ReplicaError("LINK_TIMEOUT", `${this.#client.url} brings nothing new`);
        }
        if (idleRequests > 0) {
          await this.#clock.sleep(idleMs * 2 ** idleRequests, { signal: this.#signal });
        }
      }
    } finally {
      await connection.close();
    }
  }

  /** One request and its answer, merged. */
  async #request(): Promise<void> {
    await this.#exchange.settled(this.#signal);
    const said = this.#withoutHello(this.#exchange.take());
    const answer = await this.#client.request({
      method: "POST",
      headers: { [exchangeHeader]: "1" },
      messages: [...this.#hello(), ...said],
      signal: this.#signal,
    });
    if (answer.statusCode !== 200) {
      answer.resume();
      const { statusCode, statusMessage } = answer;
      throw failedError(this.#client.url, `the answer was ${statusCode} ${statusMessage}`);
    }
    for await (const message of readFrames(answer, this.#client.url)) {
      this.#hear(message);
      await this.#exchange.deliver(message);
    }
    if (this.#remoteHello === undefined) {
      throw failedError(this.#client.url, "the answer is not a peer's");
    }
    await this.#exchange.settled(this.#signal);
  }

  #hear(bytes: Uint8Array): void {
    const message = decodeMessage(bytes);
    if (message.kind === "hello") this.#remoteHello = message;
    if (message.kind === "hello" || message.kind === "have") {
      mergeVector(this.#remote, message.vector);
    }
    if (message.kind === "stateChunk" || endsMessage(message)) this.#chunks += 1;
    if (message.kind === "bye") throw byeError(message);
  }

  /** The link greets once; each request needs a greeting that tells what is held by now. */
  #withoutHello(said: readonly Uint8Array[]): Uint8Array[] {
    return said.filter((bytes) => {
      const message = decodeMessage(bytes);
      if (message.kind === "bye") throw byeError(message);
      if (message.kind !== "hello") return true;
      this.#ownHello ??= message;
      return false;
    });
  }

  #hello(): Uint8Array[] {
    if (this.#ownHello === undefined) {
      throw new ReplicaError("CLOSED", "the replica is closed");
    }
    const [vector = new Map<number, number>(), ...rest] = vectorPages(this.#held());
    const greeting = encodeMessage({ ...this.#ownHello, answer: true, vector });
    return [
      greeting,
      ...rest.map((page) => encodeMessage({ kind: "have", full: false, vector: page })),
    ];
  }

  #held(): VersionVector {
    return new Map(this.#replica.vector().map(({ peerId, held }) => [peerId, held]));
  }

  /** Grows whenever anything moves in either direction. */
  #progress(): number {
    let sum = this.#chunks;
    for (const held of this.#held().values()) sum += held;
    for (const held of this.#remote.values()) sum += held;
    return sum;
  }
}

function byeError({ code, text }: { code: string; text: string }): ReplicaError {
  return new ReplicaError(isReplicaErrorCode(code) ? code : "LINK_CLOSED", text);
}
