/** `mergelite ship`: copies what is committed to databases into storages, until it is stopped. */

import { systemClock } from "../clock.ts";
import { messageOf, type ReplicaError } from "../errors.ts";
import type { WalServer } from "../live/index.ts";
import type { Labelled, ShipOptions, Shipper, ShipperMetrics } from "../ship/index.ts";
import type { Storage } from "../storage/storage.ts";
import { type Command, type CommandInput, jsonOption, type Values } from "./command.ts";
import { openDatabase } from "./database.ts";
import { type ChildCommand, execOption, parseCommand, runChild } from "./exec.ts";
import { exitCodes, Failure, usageFailure } from "./failure.ts";
import {
  type FollowersPlace,
  followerOptions,
  listenForFollowers,
  readFollowersPlace,
} from "./followers.ts";
import { metricsAddress, metricsOption, whileAnswering } from "./metrics-server.ts";
import { tellWhere } from "./output.ts";
import { planArguments, planConfig, type ShipPlan } from "./ship-plan.ts";
import { report } from "./ship-report.ts";
import { interruptSignal, stayAlive, stopSignal } from "./signals.ts";

export const ship: Command = {
  name: "ship",
  usage:
    "FILE… URL [--once] [--interval MS] [--exec COMMAND] [--listen HOST:PORT] [--metrics HOST:PORT] | --config FILE.toml",
  summary: "back databases up continuously",
  description: `Copies every commit to the database FILE into the storage at URL, whichever process makes it,
until SIGINT or SIGTERM; then it ships what is left. Of several files each gets a place of its own
below the URL, by its name. FILE is in WAL mode from then on, and FILE-ship beside it is a folder
with the shipper's position. Only one process may ship to one place: another one waits until this
one ends, or has been silent for a minute. Backups are kept: joined, proved, old files deleted.
With --listen one FILE is streamed to followers, too, as by serve-wal, once it is in all storages.`,
  options: {
    config: { type: "string", value: "FILE", help: "databases, storages and options, as TOML" },
    interval: { type: "string", value: "MS", help: "gather commits for so long (default 1000)" },
    once: { type: "boolean", help: "ship what is there, do what is due, and end" },
    exec: execOption,
    metrics: metricsOption,
    "no-keep": { type: "boolean", help: "only add to the backups" },
    ...followerOptions,
    "dry-run": { type: "boolean", help: "print how many requests a day that makes; ship nothing" },
    json: jsonOption,
  },
  positionals: [0, 10_000],
  run: runShip,
};

const pauseMsMin = 100;

/** A database that is shipped. */
interface Shipped {
  readonly file: string;
  readonly shipper: Shipper;
  /** In how many storages. */
  readonly places: number;
}

async function runShip(input: CommandInput): Promise<number> {
  const { values, output } = input;
  const plans = readPlans(input);
  const text = values.text("exec");
  const command = text === undefined ? undefined : parseCommand(text);
  const isOnce = values.flag("once");
  if (isOnce && command !== undefined) throw usageFailure("--once and --exec exclude each other");
  const metrics = metricsAddress(values);
  if (values.flag("dry-run")) {
    const { printRequests } = await import("./ship-requests.ts");
    await printRequests(plans, output, values.flag("json"));
    return exitCodes.done;
  }
  const place = readFollowersPlace(values);
  if (place !== undefined && isOnce) throw usageFailure("--once and --listen exclude each other");
  if (place !== undefined && plans.length > 1) throw usageFailure("--listen serves one database");
  const isEndless = !isOnce && command === undefined;
  const signal = isEndless ? stopSignal() : interruptSignal();
  const { formatShipperMetrics, joinOpenMetrics } = await import("../ship/index.ts");
  const { formatWalServerMetrics } = await import("../live/index.ts");
  return await withShippers(plans, input, async (shipped) => {
    let server: WalServer | undefined;
    const scrape = () => {
      const text = formatShipperMetrics(shipped.map(labelled));
      if (server === undefined) return text;
      const labels = { database: shipped[0]?.file ?? "" };
      return joinOpenMetrics([text, formatWalServerMetrics(server.metrics(), { labels })]);
    };
    const where = { output, isJson: values.flag("json"), isQuiet: command !== undefined };
    const tell = (url: string) => tellWhere("metrics", url, where);
    const over = AbortSignal.any([signal, allOver(shipped)]);
    const serve = async <Result>(use: () => Promise<Result>) => {
      return await withFollowers(shipped, place, { input, over }, (begun) => {
        server = begun;
        return use();
      });
    };
    return await whileAnswering(metrics, scrape, tell, async () => {
      if (isOnce) await all(shipped, (shipper) => shipper.tend({ signal }));
      else if (command === undefined) await serve(() => stayAlive(over));
      else {
        await all(shipped, (shipper) => firstFlush(shipper, signal));
        return await serve(() => runBeside(shipped, command, signal));
      }
      return exitCodes.done;
    });
  });
}

function labelled({ file, shipper }: Shipped): Labelled<ShipperMetrics> {
  return { metrics: shipper.metrics(), labels: { database: file } };
}

/** Runs `use`, and beside it lets followers in where there is a place for them. */
async function withFollowers<Result>(
  [shipped]: readonly Shipped[],
  place: FollowersPlace | undefined,
  { input: { values, output }, over }: { input: CommandInput; over: AbortSignal },
  use: (server: WalServer | undefined) => Promise<Result>,
): Promise<Result> {
  if (place === undefined || shipped === undefined) return await use(undefined);
  const { shipper } = shipped;
  const { serveWal } = await import("../live/index.ts");
  let server: WalServer | undefined;
  let end: (() => Promise<void>) | undefined;
  try {
    // Nobody follows what is not this one's to ship.
    await firstFlush(shipper, over);
    server = serveWal(shipper);
    await server.flush({ signal: over });
    const isQuiet = values.text("exec") !== undefined;
    end = await listenForFollowers(server, place, { output, isJson: values.flag("json"), isQuiet });
  } catch (error) {
    if (!over.aborted) throw error;
  }
  try {
    return await use(server);
  } finally {
    await end?.();
  }
}

function readPlans({ arguments: args, values }: CommandInput): ShipPlan[] {
  const options = readOptions(values);
  const config = values.text("config");
  if (config === undefined) return planArguments(args, options);
  if (args.length > 0) throw usageFailure("--config stands for files and URL");
  return planConfig(config, options);
}

function readOptions(values: Values): ShipOptions {
  const keep = values.flag("no-keep") ? ({ keep: false } as const) : {};
  // A standby must not run its command while this one runs its own.
  const hold = values.text("exec") === undefined ? {} : { holdLease: true };
  if (values.text("interval") === undefined) return { ...keep, ...hold };
  return {
    ...keep,
    ...hold,
    intervalMs: values.number("interval", { min: 0, max: 3_600_000, fallback: 1000 }),
  };
}

/** Opens everything, ships it while `use` runs, and closes it whatever happens. */
async function withShippers(
  plans: readonly ShipPlan[],
  { values, output }: CommandInput,
  use: (shipped: readonly Shipped[]) => Promise<number>,
): Promise<number> {
  const { ship: begin } = await import("../ship/index.ts");
  const { openStorage } = await import("../storage/open.ts");
  const shipped: Shipped[] = [];
  const closers: (() => unknown)[] = [];
  let failure: unknown;
  let exitCode: number = exitCodes.failed;
  try {
    const begins: (() => void)[] = [];
    for (const { file, targets, options } of plans) {
      const db = await openDatabase(file, {});
      closers.push(() => db.close());
      const storages: Storage[] = [];
      for (const target of targets) {
        const storage = await openStorage(target);
        closers.push(() => storage.close());
        storages.push(storage);
      }
      begins.push(() => {
        const shipper = begin(db, storages, options);
        shipped.push({ file, shipper, places: storages.length });
        const isQuiet = values.text("exec") !== undefined;
        report(shipper, { file, storages, output, isQuiet, isJson: values.flag("json") });
      });
    }
    // Nothing is shipped unless everything is there.
    for (const each of begins) each();
    exitCode = await use(shipped);
  } catch (error) {
    failure = error;
  }
  for (const error of await closeAll(shipped, closers)) {
    if (failure === undefined) failure = error;
    else if (error !== failure) output.error(`warning: ${messageOf(error)}`);
  }
  if (failure === undefined) return exitCode;
  // The child's own failure is the answer; what went wrong besides is told.
  if (exitCode === exitCodes.failed || exitCode === exitCodes.done) throw failure;
  output.error(`mergelite: ${messageOf(failure)}`);
  return exitCode;
}

/** Shippers at once, for each ships what is left; then the rest, the last one opened first. */
async function closeAll(
  shipped: readonly Shipped[],
  closers: readonly (() => unknown)[],
): Promise<unknown[]> {
  const closed = await Promise.allSettled(shipped.map(({ shipper }) => shipper.close()));
  const errors = closed.flatMap((each) => (each.status === "rejected" ? [each.reason] : []));
  for (const close of closers.toReversed()) {
    try {
      await close();
    } catch (error) {
      if (!errors.includes(error)) errors.push(error);
    }
  }
  return errors;
}

/** Of several failures the first is thrown, when all have ended. */
async function all(
  shipped: readonly Shipped[],
  work: (shipper: Shipper) => Promise<unknown>,
): Promise<void> {
  const done = await Promise.allSettled(shipped.map(({ shipper }) => work(shipper)));
  for (const each of done) if (each.status === "rejected") throw each.reason;
}

/** Waits for a storage that is away, and for a place that another one has. */
async function firstFlush(shipper: Shipper, signal: AbortSignal): Promise<void> {
  let retryMs = 0;
  const off = shipper.on("failed", (failed) => {
    retryMs = failed.retryMs;
  });
  try {
    for (;;) {
      try {
        await shipper.flush({ signal });
        return;
      } catch (error) {
        signal.throwIfAborted();
        if (shipper.failure !== undefined) throw error;
        await pauseOf(shipper, retryMs, signal);
      }
    }
  } finally {
    off();
  }
}

/**
 * What failed is tried again by the shipper: sooner there is no use in asking. Then there is, for a
 * shipper that has nothing new to ship tells of nothing.
 */
async function pauseOf(shipper: Shipper, retryMs: number, signal: AbortSignal): Promise<void> {
  const shipped = new AbortController();
  const off = shipper.on("shipped", () => shipped.abort());
  const either = AbortSignal.any([signal, shipped.signal]);
  await systemClock.sleep(Math.max(retryMs, pauseMsMin), { signal: either }).catch(() => {});
  off();
  signal.throwIfAborted();
}

/** Runs the command while all files are shipped: who lost its place to another one ends it. */
async function runBeside(
  shipped: readonly Shipped[],
  command: ChildCommand,
  interrupted: AbortSignal,
): Promise<number> {
  const stop = new AbortController();
  for (const each of shipped) {
    onFailure(each, ({ message }) => {
      stop.abort(new Failure(`${each.file} is not shipped any more: ${message}`));
    });
  }
  // One of them may have been lost while another one was waited for.
  stop.signal.throwIfAborted();
  const exitCode = await runChild(command, { interrupted, stop: stop.signal });
  stop.signal.throwIfAborted();
  return exitCode;
}

/** Aborts when there is nothing left to do: whoever started this should hear of it. */
function allOver(shipped: readonly Shipped[]): AbortSignal {
  const over = new AbortController();
  const going = new Set(shipped);
  for (const each of shipped) {
    onFailure(each, ({ code }) => {
      // Who has lost one of several places ships to the others.
      if (code !== "LEASE_LOST" || each.places === 1) going.delete(each);
      if (going.size === 0) over.abort();
    });
  }
  return over.signal;
}

/** Tells of a failure for good, also of one that has been. */
function onFailure({ shipper }: Shipped, tell: (failure: ReplicaError) => void): void {
  const look = () => {
    if (shipper.failure !== undefined) tell(shipper.failure);
  };
  shipper.on("failed", look);
  look();
}
