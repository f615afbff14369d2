/** `mergelite serve-wal`: streams what is committed to a database to its followers. */
import { type Command, type CommandInput, jsonEventsOption } from "./command.ts";
import { withDatabase } from "./database.ts";
import { exitCodes, usageFailure } from "./failure.ts";
import { followerOptions, listenForFollowers, readFollowersPlace } from "./followers.ts";
import { metricsAddress, metricsOption, whileAnswering } from "./metrics-server.ts";
import { tellWhere } from "./output.ts";
import { stopSignal, whenAborted } from "./signals.ts";

export const serveWal: Command = {
  name: "serve-wal",
  usage: "FILE --listen HOST:PORT [--metrics HOST:PORT]",
  summary: "stream a database to followers as it is committed",
  description: `Sends every commit to the database FILE, whichever process makes it, to all who follow it with
mergelite follow ws://HOST:PORT COPY, a snapshot first, until SIGINT or SIGTERM; then it waits up
to 5 seconds until they have what is left. FILE is in WAL mode from then on, and FILE-live beside
it is a folder with the position. Followers must know the token; without one only this machine's
own addresses are listened on. With --cert and --key they connect to wss://HOST:PORT. To ship FILE
as well, use mergelite ship FILE URL --listen HOST:PORT instead.`,
  options: {
    ...followerOptions,
    interval: { type: "string", value: "MS", help: "gather commits for so long (default 10)" },
    metrics: metricsOption,
    json: jsonEventsOption,
  },
  positionals: [1, 1],
  run: serveFile,
};

async function serveFile({ arguments: [file = ""], values, output }: CommandInput) {
  const place = readFollowersPlace(values);
  if (place === undefined) throw usageFailure("--listen is needed");
  const intervalMs = values.number("interval", { min: 0, max: 3_600_000, fallback: 10 });
  const metrics = metricsAddress(values);
  const isJson = values.flag("json");
  const signal = stopSignal();
  return await withDatabase(file, {}, async (db) => {
    const { formatWalServerMetrics, serveWal: begin } = await import("../live/index.ts");
    const server = begin(db, { intervalMs });
    try {
      // What is wrong with the file is told before anybody connects.
      await server.flush({ signal });
      const end = await listenForFollowers(server, place, { output, isJson });
      const scrape = () => {
        const labels = { database: file };
        return formatWalServerMetrics(server.metrics(), { labels });
      };
      const tell = (url: string) => tellWhere("metrics", url, { output, isJson });
      try {
        await whileAnswering(metrics, scrape, tell, () => whenAborted(signal));
      } finally {
        await end();
      }
    } finally {
      await server.close();
    }
    return exitCodes.done;
  });
}
