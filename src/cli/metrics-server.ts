/** Answers scrapes: `GET /metrics`, and nothing else. */
import { createServer } from "node:http";
import type { Clock } from "../clock.ts";
import type { Replica } from "../index.ts";
import { formatOpenMetrics, openMetricsContentType } from "../open-metrics.ts";
import { listenOn, type SocketAddress } from "../transport/sockets.ts";
import type { Listener } from "../transport/transport.ts";

/** Sizes of the file are read at most this often, however often somebody scrapes. */
const measureMs = 15_000;

export async function serveMetrics(
  replica: Replica,
  address: SocketAddress,
  clock: Clock,
): Promise<Listener> {
  const scrape = async () => {
    const measuredAtMs = replica.metrics().file?.measuredAtMs ?? Number.NEGATIVE_INFINITY;
    if (Math.abs(clock.now() - measuredAtMs) >= measureMs) {
      // What cannot be read is left out: the rest is worth having then.
      await replica.measure().catch(() => undefined);
    }
    const labels = replica.cluster === "" ? {} : { cluster: replica.cluster };
    return formatOpenMetrics(replica.metrics(), { labels });
  };
  const server = createServer((request, response) => {
    request.resume();
    const [path] = (request.url ?? "").split("?", 1);
    if (path !== "/metrics") {
      response.writeHead(404).end("see /metrics\n");
    } else if (request.method !== "GET" && request.method !== "HEAD") {
      response.writeHead(405, { allow: "GET, HEAD" }).end();
    } else {
      scrape().then(
        (text) => response.writeHead(200, { "content-type": openMetricsContentType }).end(text),
        () => response.writeHead(503).end("the replica is closed\n"),
      );
    }
  });
  const port = await listenOn(server, address);
  return {
    port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
