/** Requests and answers of `node:http` as those of `fetch`. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { Readable } from "node:stream";

export async function answerNode(
  handle: (request: Request) => Promise<Response>,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
): Promise<void> {
  const gone = new AbortController();
  outgoing.once("close", () => gone.abort());
  // The peer hung up, and nobody is there to be told.
  outgoing.on("error", () => undefined);
  incoming.on("error", () => undefined);
  let status = 500;
  let body = Buffer.alloc(0);
  try {
    const response = await handle(toRequest(incoming, gone.signal));
    status = response.status;
    response.headers.forEach((value, name) => {
      outgoing.setHeader(name, value);
    });
    body = Buffer.from(await response.arrayBuffer());
  } catch {
    // A request that makes no sense, or one whose peer hung up in the middle.
    status = 400;
  }
  // A body that was not read would stand in front of the next request on this connection.
  if (!incoming.readableEnded && !incoming.complete) outgoing.setHeader("connection", "close");
  if (status !== 204) outgoing.setHeader("content-length", body.byteLength);
  outgoing.writeHead(status).end(body);
}

function toRequest(incoming: IncomingMessage, signal: AbortSignal): Request {
  const headers = new Headers();
  for (const [name, value = []] of Object.entries(incoming.headers)) {
    for (const one of [value].flat()) headers.append(name, one);
  }
  const method = incoming.method ?? "GET";
  const hasBody = method !== "GET" && method !== "HEAD";
  return new Request(new URL(incoming.url ?? "/", `http://${headers.get("host") ?? "localhost"}`), {
    method,
    headers,
    signal,
    // Streamed: only then does a reader that stops slow the sender down.
    ...(hasBody ? { body: Readable.toWeb(incoming) as ReadableStream, duplex: "half" } : {}),
  });
}
