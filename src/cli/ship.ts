/** `mergelite ship`: copies what is committed to a database into storages, until it is stopped. */
import { systemClock } from "../clock.ts";
import { formatTxid } from "../ltx/keys.ts";
import type { Shipper } from "../ship/index.ts";
import type { Storage } from "../storage/storage.ts";
import { withStorage } from "./backup-url.ts";
import type { Command, CommandInput } from "./command.ts";
import { withDatabase } from "./database.ts";
import { exitCodes } from "./failure.ts";
import type { Output } from "./output.ts";
import { interruptSignal } from "./signals.ts";

export const ship: Command = {
  name: "ship",
  usage: "FILE URL [--once] [--interval MS]",
  summary: "back a database up continuously",
  description: `Copies every commit to the database FILE into the storage at URL, whichever process makes it,
until SIGINT or SIGTERM; then it ships what is left. FILE is in WAL mode from then on, and
FILE-ship beside it is a folder with the shipper's position. Only one process may ship to one
URL: another one waits until this one ends, or has been silent for a minute.`,
  options: {
    interval: { type: "string", value: "MS", help: "gather commits for so long (1000)" },
    once: { type: "boolean", help: "ship what is there and end" },
    json: { type: "boolean", help: "print events as JSON, one a line" },
  },
  positionals: [2, 2],
  run: shipFile,
};

async function shipFile({ arguments: [file = "", url = ""], values, output }: CommandInput) {
  const intervalMs = values.number("interval", { min: 0, max: 3_600_000, fallback: 1000 });
  const json = values.flag("json");
  const signal = interruptSignal();
  return await withStorage(url, async (storage) => {
    return await withDatabase(file, {}, async (db) => {
      const { ship: begin } = await import("../ship/index.ts");
      const shipper = begin(db, storage, { intervalMs });
      report(shipper, storage, output, json);
      try {
        if (values.flag("once")) await shipper.tend({ signal });
        else await stayAlive(signal);
      } finally {
        await shipper.close();
      }
      return exitCodes.done;
    });
  });
}

const dayMs = 24 * 3600 * 1000;

/** A shipper's timers do not keep a process alive. */
async function stayAlive(signal: AbortSignal): Promise<void> {
  while (!signal.aborted) await systemClock.sleep(dayMs, { signal }).catch(() => {});
}

function report(shipper: Shipper, storage: Storage, output: Output, json: boolean): void {
  if (!json) output.line(`shipping to ${storage.name}`);
  shipper.on("shipped", ({ minTxid, maxTxid, bytes }) => {
    const position = formatTxid(maxTxid);
    const transactions = maxTxid - minTxid + 1;
    if (json) output.line(JSON.stringify({ event: "shipped", position, transactions, bytes }));
    else output.line(`${position}: ${transactions} transactions, ${bytes} bytes`);
  });
  shipper.on("rebase", ({ reason, pages }) => {
    if (json) output.line(JSON.stringify({ event: "rebase", reason, pages }));
    else output.line(`compared all pages (${reason}): ${pages} had changed`);
  });
  shipper.on("failed", ({ error }) => {
    output.error(`warning: ${error instanceof Error ? error.message : String(error)}`);
  });
}
