/** `mergelite serve`: keeps a file in sync with its peers until it is told to stop. */
import { systemClock } from "../clock.ts";
import type { Replica } from "../index.ts";
import type { Listener, Transport } from "../transport/transport.ts";
import { dialerFor, formatAddress, listenOn, parseListenAddress, parseUrl } from "./addresses.ts";
import { type Command, type CommandInput, clusterOption, jsonEventsOption } from "./command.ts";
import { credentialOptions, readCredentials } from "./credentials.ts";
import { exitCodes, usageFailure } from "./failure.ts";
import { withReplica } from "./linked.ts";
import { metricsAddress, metricsOption, scrapeReplica, serveMetrics } from "./metrics-server.ts";
import { ServeReport } from "./serve-report.ts";
import { interruptSignal, stopSignal, whenAborted } from "./signals.ts";

export const serve: Command = {
  name: "serve",
  usage: "FILE (--listen HOST:PORT | --connect URL | --stdio)...",
  summary: "keep a file in sync with its peers until stopped",
  description: `Keeps FILE in sync with all peers that connect and with those it connects to. Other processes
may write the file meanwhile. Peers that share a server receive each other's changes.
SIGINT or SIGTERM ends it: it waits up to 5 seconds until its peers hold everything.

With --stdio its one peer is whoever has started it, over stdin and stdout, and it ends with
that: for mergelite sync --exec.`,
  options: {
    listen: {
      type: "string",
      multiple: true,
      value: "HOST:PORT",
      help: "accept WebSockets here; wss, http, https, tcp, tls, udp with the scheme in front",
    },
    connect: {
      type: "string",
      multiple: true,
      value: "URL",
      help: "keep a link to this peer: ws, wss, http, https, tcp, tls or udp",
    },
    stdio: { type: "boolean", help: "talk to one peer over stdin and stdout" },
    metrics: metricsOption,
    cluster: clusterOption,
    ...credentialOptions,
    json: jsonEventsOption,
  },
  positionals: [1, 1],
  run: serveFile,
};

const drainMs = 5_000;

async function serveFile({ arguments: [file = ""], values, output }: CommandInput) {
  const credentials = readCredentials(values);
  const addresses = values.texts("listen").map((text) => parseListenAddress(text, credentials));
  const metrics = metricsAddress(values);
  const urls = values.texts("connect").map((text) => parseUrl(text, credentials));
  if (values.flag("stdio")) {
    if (addresses.length + urls.length > 0 || metrics !== undefined) {
      throw usageFailure("--stdio stands alone");
    }
    return serveStdio(file, values.text("cluster"));
  }
  if (addresses.length + urls.length === 0) {
    throw usageFailure("--listen, --connect or --stdio is needed");
  }
  const signal = stopSignal();
  await withReplica(file, values.text("cluster"), async (replica) => {
    const report = new ServeReport(replica, {
      output,
      clock: systemClock,
      json: values.flag("json"),
    });
    report.started(file);
    const listeners: Pick<Listener, "close">[] = [];
    const accept = (transport: Transport) => {
      if (signal.aborted) void transport.close?.();
      else replica.connect(transport);
    };
    try {
      for (const address of addresses) {
        const listener = await listenOn(address, credentials, accept);
        listeners.push(listener);
        report.listening(formatAddress({ ...address, port: listener.port }));
      }
      if (metrics !== undefined) {
        const scrape = () => scrapeReplica(replica, systemClock);
        const listener = await serveMetrics(metrics, scrape);
        listeners.push(listener);
        report.metrics(listener.url);
      }
      for (const url of urls) replica.connect(await dialerFor(url, credentials));
      await whenAborted(signal);
      report.stopping();
      const isDrained = await drain(replica);
      // Peers are told goodbye before their sockets go.
      await replica.close();
      report.stopped(isDrained);
    } finally {
      await Promise.all(listeners.map((listener) => listener.close()));
    }
  });
  return exitCodes.done;
}

/** The one that has started this process sees what is wrong: it is told over the link. */
async function serveStdio(file: string, cluster: string | undefined): Promise<number> {
  const { stdioTransport } = await import("../transport/stdio.ts");
  return withReplica(file, cluster, async (replica) => {
    const connection = replica.connect(stdioTransport(process));
    const signal = interruptSignal();
    signal.addEventListener("abort", () => void connection.close(), { once: true });
    let exitCode: number = exitCodes.done;
    replica.on("link", ({ live, code }) => {
      if (!live && code !== "LINK_CLOSED") exitCode = exitCodes.failed;
    });
    await connection.closed;
    return exitCode;
  });
}

/** Whether every linked peer holds everything. */
async function drain(replica: Replica): Promise<boolean> {
  if (replica.status().links.every((link) => link.behind === 0)) return true;
  const timeout = new AbortController();
  const cancel = systemClock.setTimer(drainMs, () => timeout.abort());
  try {
    await replica.drain(timeout);
    return true;
  } catch {
    return false;
  } finally {
    cancel();
  }
}
