/** Answers the requests of HTTP peers: as a `fetch` handler, or as a listener of `node:http`. */
import { randomBytes } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { checkFunction, checkNames } from "../arguments.ts";
import { type Clock, systemClock } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import { frameHeader } from "../transport/framing.ts";
import { sessionHeader } from "../transport/http.ts";
import type { Transport } from "../transport/transport.ts";
import { answerExchange, exchangeHeader } from "./exchange.ts";
import { answerNode } from "./node.ts";
import { Session } from "./session.ts";

export interface HttpEndpointOptions {
  /**
   * Whether this request may be answered, asked for each before its body is read; 401 is the answer
   * when not. @default everyone may
   */
  readonly authorize?: (request: Request) => boolean | Promise<boolean>;
  /** Peers at a time that stay; another one is told to come later. @default 1000 */
  readonly sessionsMax?: number;
  /** A peer that sends no request for so long is gone. @default 60000 */
  readonly sessionMs?: number;
  /** How long a GET waits for messages; less than proxies on the way wait. @default 20000 */
  readonly pollMs?: number;
  /** @default the system's clock */
  readonly clock?: Clock;
}

export interface HttpEndpoint {
  /** For everything that speaks `fetch`: Hono, Bun, Deno, workers. */
  readonly handle: (request: Request) => Promise<Response>;
  /** For `node:http`, Express, Fastify's raw request: nothing may have read the body. */
  readonly listener: (request: IncomingMessage, response: ServerResponse) => void;
  /** Says goodbye to all peers; later ones are refused. Your server stays. */
  close(): Promise<void>;
}

const idBytes = 24;
const retryAfterS = "5";

/** `onTransport` gets a transport for every peer, and the request that it came with. */
export function httpEndpoint(
  onTransport: (transport: Transport, request: Request) => void,
  options: HttpEndpointOptions = {},
): HttpEndpoint {
  checkFunction(onTransport, "onTransport");
  checkNames(options, ["authorize", "sessionsMax", "sessionMs", "pollMs", "clock"]);
  const endpoint = new Endpoint(onTransport, options);
  const handle = (request: Request) => endpoint.handle(request);
  return {
    handle,
    listener: (request, response) => void answerNode(handle, request, response),
    close: () => endpoint.close(),
  };
}

class Endpoint {
  readonly #onTransport: (transport: Transport, request: Request) => void;
  readonly #options: Required<Omit<HttpEndpointOptions, "authorize">>;
  readonly #authorize: HttpEndpointOptions["authorize"];
  readonly #sessions = new Map<string, Session>();
  #exchanges = 0;
  #isClosing = false;

  constructor(
    onTransport: (transport: Transport, request: Request) => void,
    { authorize, ...options }: HttpEndpointOptions,
  ) {
    this.#onTransport = onTransport;
    this.#authorize = authorize;
    this.#options = {
      sessionsMax: 1_000,
      sessionMs: 60_000,
      pollMs: 20_000,
      clock: systemClock,
      ...options,
    };
  }

  async handle(request: Request): Promise<Response> {
    if (!(await this.#isWelcome(request))) return answer(401);
    try {
      const id = request.headers.get(sessionHeader);
      if (id !== null) return await this.#inSession(id, request);
      if (request.method !== "POST") return answer(405, { allow: "POST" });
      if (request.headers.has(exchangeHeader)) return await this.#exchange(request);
      return this.#open(request);
    } catch (error) {
      if (!(error instanceof ReplicaError)) throw error;
      return answer(error.code === "MESSAGE_TOO_LARGE" ? 413 : 400);
    }
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    await Promise.all([...this.#sessions.values()].map((session) => session.close()));
  }

  async #isWelcome(request: Request): Promise<boolean> {
    try {
      return this.#authorize === undefined || (await this.#authorize(request));
    } catch {
      // Whoever cannot be examined is not let in.
      return false;
    }
  }

  get #isFull(): boolean {
    const busy = this.#sessions.size + this.#exchanges;
    return this.#isClosing || busy >= this.#options.sessionsMax;
  }

  #open(request: Request): Response {
    if (this.#isFull) return answer(503, { "retry-after": retryAfterS });
    const id = randomBytes(idBytes).toString("base64url");
    const { clock, sessionMs } = this.#options;
    const session = new Session({
      name: `http:${id.slice(0, 6)}`,
      clock,
      sessionMs,
      onGone: () => this.#sessions.delete(id),
    });
    this.#sessions.set(id, session);
    this.#onTransport(session, request);
    return answer(201, { [sessionHeader]: id });
  }

  async #inSession(id: string, request: Request): Promise<Response> {
    const session = this.#sessions.get(id);
    if (session === undefined) return answer(404);
    session.touch();
    if (request.method === "DELETE") {
      session.end();
      return answer(204);
    }
    if (request.method === "POST") return answer(await session.take(chunksOf(request)));
    if (request.method !== "GET") return answer(405, { allow: "GET, POST, DELETE" });
    const messages = await session.give(this.#options.pollMs, request.signal);
    if (messages === undefined) return answer(410);
    return messages.length === 0 ? answer(204) : answer(200, {}, messages);
  }

  async #exchange(request: Request): Promise<Response> {
    if (this.#isFull) return answer(503, { "retry-after": retryAfterS });
    this.#exchanges += 1;
    try {
      const { clock } = this.#options;
      const messages = await answerExchange(chunksOf(request), {
        clock,
        onTransport: (transport) => this.#onTransport(transport, request),
      });
      return answer(200, {}, messages);
    } finally {
      this.#exchanges -= 1;
    }
  }
}

function chunksOf({ body }: Request): AsyncIterable<Uint8Array> {
  return body ?? (async function* () {})();
}

function answer(
  status: number,
  headers: Record<string, string> = {},
  messages?: readonly Uint8Array[],
): Response {
  const always = { "cache-control": "no-store" };
  if (messages === undefined)
    return new Response(null, { status, headers: { ...always, ...headers } });
  const body = Buffer.concat(messages.flatMap((message) => [frameHeader(message), message]));
  const type = { "content-type": "application/octet-stream" };
  return new Response(body, { status, headers: { ...always, ...type, ...headers } });
}
