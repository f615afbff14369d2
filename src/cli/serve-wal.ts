/** `mergelite serve-wal`: streams what is committed to a database to its followers. */
import type { IncomingMessage } from "node:http";
import { systemClock } from "../clock.ts";
import type { FollowerInfo, WalServer } from "../live/index.ts";
import { formatTxid } from "../ltx/keys.ts";
import { listenWebSocket } from "../transport/websocket.ts";
import { formatAddress, parseListenAddress } from "./addresses.ts";
import { type Command, type CommandInput, jsonEventsOption } from "./command.ts";
import {
  type Credentials,
  credentialOptions,
  isAuthorized,
  readCredentials,
} from "./credentials.ts";
import { withDatabase } from "./database.ts";
import { exitCodes, usageFailure } from "./failure.ts";
import { reasonOf } from "./linked.ts";
import { metricsAddress, metricsOption, whileAnswering } from "./metrics-server.ts";
import type { Output } from "./output.ts";
import { interruptSignal, whenAborted } from "./signals.ts";

export const serveWal: Command = {
  name: "serve-wal",
  usage: "FILE --listen HOST:PORT [--metrics HOST:PORT]",
  summary: "stream a database to followers as it is committed",
  description: `Sends every commit to the database FILE, whichever process makes it, to all who follow it with
mergelite follow ws://HOST:PORT COPY, a snapshot first, until SIGINT or SIGTERM; then it waits up
to 5 seconds until they have what is left. FILE is in WAL mode from then on, and FILE-live beside
it is a folder with the position. Followers must know the token; without one only this machine's
own addresses are listened on. With --cert and --key they connect to wss://HOST:PORT.`,
  options: {
    listen: { type: "string", value: "HOST:PORT", help: "where followers connect; port 0 is any" },
    interval: { type: "string", value: "MS", help: "gather commits for so long (10)" },
    metrics: metricsOption,
    ...credentialOptions,
    json: jsonEventsOption,
  },
  positionals: [1, 1],
  run: serveFile,
};

const drainMs = 5_000;

async function serveFile({ arguments: [file = ""], values, output }: CommandInput) {
  const credentials = readCredentials(values);
  const text = values.text("listen");
  if (text === undefined) throw usageFailure("--listen is needed");
  const address = parseListenAddress(text, credentials);
  if (!["ws", "wss"].includes(address.scheme)) {
    throw usageFailure(`followers connect over WebSockets, not ${address.scheme}`);
  }
  requireToken(address.host, credentials);
  const intervalMs = values.number("interval", { min: 0, max: 3_600_000, fallback: 10 });
  const metrics = metricsAddress(values);
  const isJson = values.flag("json");
  const { identity } = credentials;
  const signal = interruptSignal();
  return await withDatabase(file, {}, async (db) => {
    const { formatWalServerMetrics, serveWal: begin } = await import("../live/index.ts");
    const server = begin(db, { intervalMs });
    try {
      // What is wrong with the file is told before anybody connects.
      await server.flush({ signal });
      const listener = await listenWebSocket(
        {
          ...address,
          ...(identity === undefined ? {} : { tls: identity }),
          authorize: ({ headers }: IncomingMessage) =>
            isAuthorized(credentials, headers.authorization),
        },
        (transport) => server.accept(transport),
      );
      try {
        const scheme = identity === undefined ? "ws" : "wss";
        const url = formatAddress({ ...address, scheme, port: listener.port });
        if (isJson) output.json({ event: "listening", url });
        else output.line(`listening on ${url}`);
        report(server, output, isJson);
        const scrape = () => {
          const labels = { database: file };
          return formatWalServerMetrics(server.metrics(), { labels });
        };
        const tell = (where: string) => {
          if (isJson) output.json({ event: "metrics", url: where });
          else output.line(`metrics at ${where}`);
        };
        await whileAnswering(metrics, scrape, tell, () => whenAborted(signal));
        await server.flush({ signal: AbortSignal.timeout(drainMs) }).catch(() => {});
      } finally {
        await server.close();
        await listener.close();
      }
    } finally {
      await server.close();
    }
    return exitCodes.done;
  });
}

/** A whole database is given to whoever asks. */
function requireToken(host: string, { token }: Credentials): void {
  const isOwn = /^(localhost|127(\.\d{1,3}){3}|::1)$/.test(host);
  if (token !== undefined || isOwn) return;
  throw usageFailure(
    `a token is needed to listen on ${host}: --token-file FILE, MERGELITE_TOKEN or --token`,
  );
}

function report(server: WalServer, output: Output, isJson: boolean): void {
  const tell = (event: string, data: object, text: string) => {
    const time = new Date(systemClock.now()).toISOString();
    if (isJson) output.json({ event, time, ...data });
    else output.line(`${output.paint("dim", time)}  ${text}`);
  };
  const dataOf = ({ name, txid }: FollowerInfo) => ({ name, position: formatTxid(txid) });
  server.on("follower", (follower) => {
    const { position } = dataOf(follower);
    const how = follower.txid === 0 ? "gets all pages" : `goes on from ${position}`;
    tell("follower", dataOf(follower), `follower ${follower.name} ${how}`);
  });
  server.on("left", ({ error, ...follower }) => {
    const reason = error === undefined ? undefined : reasonOf(error);
    const why = reason === undefined ? "" : `: ${reason}`;
    const data = { ...dataOf(follower), ...(reason === undefined ? {} : { reason }) };
    tell("left", data, `follower ${follower.name} left at ${data.position}${why}`);
  });
  server.on("rebase", ({ reason, pages }) => {
    tell("rebase", { reason, pages }, `compared all pages (${reason}): ${pages} had changed`);
  });
  server.on("failed", ({ error }) => output.error(`warning: ${reasonOf(error)}`));
}
