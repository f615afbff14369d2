/** Answers scrapes: `GET /metrics`, and nothing else. */
import { createServer } from "node:http";
import type { Clock } from "../clock.ts";
import type { Replica } from "../index.ts";
import { openMetricsContentType } from "../metrics-text.ts";
import { formatOpenMetrics } from "../open-metrics.ts";
import { listenOn, type SocketAddress } from "../transport/sockets.ts";
import { formatAddress, parseSocketAddress } from "./addresses.ts";
import type { OptionSpec, Values } from "./command.ts";

export const metricsOption: OptionSpec = {
  type: "string",
  value: "HOST:PORT",
  help: "answer GET /metrics here, for Prometheus and its kind",
};

/** Where `--metrics` says; `undefined` without it. */
export function metricsAddress(values: Values): SocketAddress | undefined {
  const text = values.text("metrics");
  return text === undefined ? undefined : parseSocketAddress(text);
}

export interface MetricsServer {
  readonly url: string;
  close(): Promise<void>;
}

/** `scrape` gives OpenMetrics text, and rejects or throws when there is none any more. */
export async function serveMetrics(
  address: SocketAddress,
  scrape: () => Promise<string> | string,
): Promise<MetricsServer> {
  const answer = async () => await scrape();
  const server = createServer((request, response) => {
    request.resume();
    const [path] = (request.url ?? "").split("?", 1);
    if (path !== "/metrics") {
      response.writeHead(404).end("see /metrics\n");
    } else if (request.method !== "GET" && request.method !== "HEAD") {
      response.writeHead(405, { allow: "GET, HEAD" }).end();
    } else {
      answer().then(
        (text) => response.writeHead(200, { "content-type": openMetricsContentType }).end(text),
        () => response.writeHead(503).end("it is closed\n"),
      );
    }
  });
  const port = await listenOn(server, address);
  return {
    url: `${formatAddress({ scheme: "http", host: address.host, port })}/metrics`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** Does that while `use` runs, unless there is no address; `tell` is told where. */
export async function whileAnswering<T>(
  address: SocketAddress | undefined,
  scrape: () => string,
  tell: (url: string) => void,
  use: () => Promise<T>,
): Promise<T> {
  if (address === undefined) return await use();
  const server = await serveMetrics(address, scrape);
  try {
    tell(server.url);
    return await use();
  } finally {
    await server.close();
  }
}

/** Sizes of the file are read at most this often, however often somebody scrapes. */
const measureMs = 15_000;

export async function scrapeReplica(replica: Replica, clock: Clock): Promise<string> {
  const measuredAtMs = replica.metrics().file?.measuredAtMs ?? Number.NEGATIVE_INFINITY;
  if (Math.abs(clock.now() - measuredAtMs) >= measureMs) {
    // What cannot be read is left out: the rest is worth having then.
    await replica.measure().catch(() => undefined);
  }
  const labels = replica.cluster === "" ? {} : { cluster: replica.cluster };
  return formatOpenMetrics(replica.metrics(), { labels });
}
