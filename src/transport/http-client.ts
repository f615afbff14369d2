/** HTTP requests with certificates of one's own, which `fetch` cannot take. */
import { Agent, type IncomingMessage, request as requestHttp } from "node:http";
import { request as requestHttps, Agent as SecureAgent } from "node:https";
import { FrameReader, frameHeader } from "./framing.ts";
import { connectionOptions, type TlsCredentials } from "./tls.ts";
import { failedError, refusedError } from "./transport.ts";

export interface HttpClientOptions {
  /** Sent with every request. @default none */
  readonly headers?: Readonly<Record<string, string>>;
  /** What to say about certificates with `https://`. @default the system's trust */
  readonly tls?: TlsCredentials;
}

export interface HttpRequest {
  readonly method: "GET" | "POST" | "DELETE";
  readonly headers?: Readonly<Record<string, string>>;
  /** Framed into the body. */
  readonly messages?: readonly Uint8Array[];
  readonly signal: AbortSignal;
}

export class HttpClient {
  readonly url: string;
  readonly #options: HttpClientOptions;
  readonly #agent: Agent;

  constructor(url: string, options: HttpClientOptions) {
    const { protocol, hostname } = new URL(url);
    if (protocol !== "http:" && protocol !== "https:") throw new TypeError(`not HTTP: ${url}`);
    this.url = url;
    this.#options = options;
    const tls = connectionOptions(hostname, options.tls ?? {});
    const settings = { keepAlive: true };
    this.#agent =
      protocol === "https:" ? new SecureAgent({ ...settings, ...tls }) : new Agent(settings);
  }

  /**
   * Resolves with the answer when its head is there; its body has to be read.
   * @throws TRANSPORT_FAILED, TRANSPORT_REFUSED, or `signal.reason`
   */
  async request(request: HttpRequest): Promise<IncomingMessage> {
    for (let attempt = 1; ; attempt++) {
      request.signal.throwIfAborted();
      try {
        const response = await this.#send(request);
        const { statusCode } = response;
        if (statusCode !== 401 && statusCode !== 403) return response;
        response.resume();
        throw refusedError(this.url);
      } catch (error) {
        request.signal.throwIfAborted();
        // The server had just closed a connection that was kept for reuse. A repeated message does
        // no harm.
        if (error === staleConnection && attempt < 5) continue;
        throw error;
      }
    }
  }

  close(): void {
    this.#agent.destroy();
  }

  #send({ method, headers, messages = [], signal }: HttpRequest): Promise<IncomingMessage> {
    const send = this.url.startsWith("https:") ? requestHttps : requestHttp;
    const size = messages.reduce((sum, { byteLength }) => sum + 4 + byteLength, 0);
    return new Promise((resolve, reject) => {
      const request = send(this.url, {
        method,
        agent: this.#agent,
        headers: {
          ...this.#options.headers,
          ...headers,
          ...(method === "POST"
            ? { "content-type": "application/octet-stream", "content-length": size }
            : {}),
        },
      });
      // As an option it would end the connection as well, long after this request.
      const abort = () => request.destroy();
      signal.addEventListener("abort", abort, { once: true });
      request.once("close", () => signal.removeEventListener("abort", abort));
      request.once("response", (response) => {
        // Those who read it are told all the same.
        response.on("error", () => undefined);
        resolve(response);
      });
      // An abort comes on top of what had gone wrong already.
      request.on("error", (cause: NodeJS.ErrnoException) => {
        const isStale = request.reusedSocket && /^(ECONNRESET|EPIPE)$/.test(cause.code ?? "");
        reject(isStale ? staleConnection : failedError(this.url, cause));
      });
      for (const message of messages) {
        request.write(frameHeader(message));
        request.write(message);
      }
      request.end();
    });
  }
}

const staleConnection = new Error("the connection was closed before it was used again");

/** Messages of a body as they come in. @throws MESSAGE_TOO_LARGE, TRANSPORT_FAILED */
export async function* readFrames(
  body: AsyncIterable<Uint8Array>,
  name: string,
): AsyncGenerator<Uint8Array, void, void> {
  const frames = new FrameReader();
  for await (const chunk of body) {
    yield* frames.push(new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength));
  }
  if (frames.isMidMessage) throw failedError(name, "the body ended in the middle of a message");
}
