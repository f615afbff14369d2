/** What shippers, primaries and followers tell of themselves, in numbers and as OpenMetrics text. */
import { pathToFileURL } from "node:url";
import Database from "better-sqlite3";
import { afterEach, describe, expect, test, vi } from "vitest";
import { follow, formatFollowerMetrics } from "../../src/backup/index.ts";
import { type Clock, systemClock } from "../../src/clock.ts";
import { attach, formatOpenMetrics } from "../../src/index.ts";
import { formatWalServerMetrics, serveWal } from "../../src/live/index.ts";
import { acquireLease, formatShipperMetrics, joinOpenMetrics } from "../../src/ship/index.ts";
import { fileStorage } from "../../src/storage/index.ts";
import { type Running, start } from "../support/cli.ts";
import { familiesOf } from "../support/dashboards.ts";
import { Faults, faultStorage } from "../support/fault-storage.ts";
import { temporaryFolder } from "../support/folder.ts";
import { memoryStorage } from "../support/memory-storage.ts";
import { numbered, parseOpenMetrics, untoldOf } from "../support/open-metrics.ts";
import { eager, openWal, ship } from "../support/ship.ts";

const folder = temporaryFolder();
const started: Running[] = [];
afterEach(() => {
  for (const one of started.splice(0)) one.kill("SIGKILL");
});

/** Stands still but for `pass`. */
function stillClock(): Clock & { pass(ms: number): void } {
  let nowMs = 1_800_000_000_000;
  const pass = (ms: number) => {
    nowMs += ms;
  };
  const now = () => nowMs;
  return { ...systemClock, now, steady: now, pass };
}

/** Of a family, the values by what tells its samples apart. */
function valuesOf(text: string, name: string): Record<string, number> {
  const samples = parseOpenMetrics(text).get(`mergelite_${name}`)?.samples ?? [];
  return Object.fromEntries(
    samples.map(({ labels, value }) => [Object.values(labels).join(" "), value]),
  );
}

describe("a shipper", () => {
  test("tells how far each storage is, and for how long it has been behind", async () => {
    const file = folder.file();
    const db = openWal(file);
    const clock = stillClock();
    const faults = new Faults({ random: Math.random });
    const [near, far] = [memoryStorage(), memoryStorage()];
    Object.defineProperty(far, "name", { value: 'memory://"far"' });
    const away = faultStorage(far, faults, { attemptsMax: 1, pauseMs: 1 });
    const shipper = ship(db, [near, away], { ...eager, clock, intervalMs: 3_600_000 });
    const text = () => formatShipperMetrics(shipper.metrics(), { labels: { database: file } });
    const { txid } = await shipper.flush();
    expect(shipper.metrics()).toMatchObject({ lagMs: 0, txid, shippedTxid: txid });
    faults.down = true;
    db.exec("INSERT INTO note (body) VALUES ('a')");
    await expect(shipper.flush()).rejects.toMatchObject({ code: "STORAGE_UNAVAILABLE" });
    clock.pass(90_000);
    db.exec("INSERT INTO note (body) VALUES ('b')");
    await expect(shipper.flush()).rejects.toMatchObject({ code: "STORAGE_UNAVAILABLE" });
    const { lagMs, queuedBytes } = shipper.metrics();
    expect(lagMs).toBe(90_000);
    // What is well goes on beside what is not.
    await vi.waitFor(() => expect(shipper.metrics().storages[0]?.txid).toBe(txid + 2));
    const at = { database: file };
    const families = parseOpenMetrics(text());
    const only = (name: string) => families.get(`mergelite_${name}`)?.samples[0];
    expect(only("ship_lag_seconds")?.value).toBe(90);
    expect(only("ship_queue_bytes")).toMatchObject({ value: queuedBytes, labels: at });
    expect(queuedBytes).toBeGreaterThan(0);
    expect(only("ship_wal_bytes")?.value).toBeGreaterThan(0);
    expect(families.get("mergelite_ship_storage_position")?.samples).toEqual([
      {
        name: "mergelite_ship_storage_position",
        labels: { ...at, storage: "memory://test" },
        value: txid + 2,
      },
      {
        name: "mergelite_ship_storage_position",
        labels: { ...at, storage: 'memory://"far"' },
        value: txid,
      },
    ]);
    const [nearFails = 0, farFails = 0] = Object.values(valuesOf(text(), "ship_upload_failures"));
    expect([nearFails, farFails > 0]).toEqual([0, true]);
    faults.heal();
    await shipper.flush();
    expect(shipper.metrics()).toMatchObject({ lagMs: 0, queuedBytes: 0, shippedTxid: txid + 2 });
    await shipper.close();
    for (const [name, { help }] of families) expect([name, help]).not.toEqual([name, undefined]);
    db.close();
  });

  test("tells every number that metrics() knows", async () => {
    const db = openWal(folder.file());
    const shipper = ship(db, memoryStorage(), eager);
    await shipper.flush();
    // Of several storages each is told, and their sum is not.
    const { files, uploadedBytes, uploadFailures, ...known } = shipper.metrics();
    expect({ files, uploadedBytes, uploadFailures }).toEqual({
      files: 1,
      uploadedBytes: known.storages[0]?.uploadedBytes,
      uploadFailures: 0,
    });
    const { metrics, numbers } = numbered(known);
    const text = formatShipperMetrics({ ...metrics, files, uploadedBytes, uploadFailures });
    expect(untoldOf(text, numbers)).toEqual([]);
    await shipper.close();
    db.close();
  });

  test("tells who has the place", async () => {
    const storage = memoryStorage();
    const db = openWal(folder.file());
    const clock = stillClock();
    const stateOf = (text: string) =>
      Object.entries(valuesOf(text, "ship_lease")).flatMap(([name, value]) =>
        value === 1 ? [name.split(" ").at(-1)] : [],
      );
    const other = await acquireLease(storage, { clock, ttlMs: 1000 });
    const shipper = ship(db, storage, { ...eager, clock, leaseTtlMs: 1000 });
    const state = () => stateOf(formatShipperMetrics(shipper.metrics()));
    expect(state()).toEqual(["none"]);
    await new Promise<void>((resolve) => shipper.on("waiting", () => resolve()));
    expect(state()).toEqual(["waiting"]);
    await other.release();
    await shipper.flush();
    expect(state()).toEqual(["held"]);
    clock.pass(1000);
    expect(state()).toEqual(["idle"]);
    await acquireLease(storage);
    db.exec("INSERT INTO note (body) VALUES ('a')");
    await expect(shipper.flush()).rejects.toMatchObject({ code: "LEASE_LOST" });
    expect(state()).toEqual(["lost"]);
    await shipper.close().catch(() => {});
    db.close();
  });
});

test("a primary and a follower tell every number, and join a replica and a shipper", async () => {
  const file = folder.file();
  const db = openWal(file);
  const storage = fileStorage(`${file}-backup`);
  const shipper = ship(db, storage, eager);
  await shipper.flush();
  const other = new Database(file);
  const server = serveWal(other);
  await server.flush();
  const follower = await follow(storage, `${file}.copy`);
  const live = numbered(server.metrics());
  expect(untoldOf(formatWalServerMetrics(live.metrics), live.numbers)).toEqual([]);
  expect(follower.metrics()).toMatchObject(follower.position);
  const followed = numbered(follower.metrics());
  expect(untoldOf(formatFollowerMetrics(followed.metrics), followed.numbers)).toEqual([]);

  const replica = attach(db, { tables: ["note"] });
  const texts = [
    formatOpenMetrics(replica.metrics()),
    formatShipperMetrics([
      { metrics: shipper.metrics(), labels: { database: "a" } },
      { metrics: shipper.metrics(), labels: { database: "b" } },
    ]),
    formatWalServerMetrics(server.metrics()),
    formatFollowerMetrics(follower.metrics()),
  ];
  const families = parseOpenMetrics(joinOpenMetrics(texts));
  for (const name of ["local_commits", "ship_commits", "live_commits", "follow_commits"]) {
    expect([...families.keys()]).toContain(`mergelite_${name}`);
  }
  const shown = familiesOf("grafana-backup-dashboard.json");
  expect(shown.size).toBeGreaterThan(10);
  expect([...shown].filter((family) => !families.has(family))).toEqual([]);
  expect(families.get("mergelite_ship_position")?.samples).toHaveLength(2);
  expect(() => joinOpenMetrics([...texts, ...texts])).toThrow("is in two texts");
  expect(() => joinOpenMetrics(["a 1"])).toThrow(TypeError);
  expect(parseOpenMetrics(formatShipperMetrics([])).size).toBe(0);
  await replica.close();
  await Promise.all([shipper.close(), server.close(), follower.close()]);
  for (const each of [db, other]) each.close();
});

describe("the command answers scrapes", () => {
  async function scraped(child: Running, stream: "stdout" | "stderr" = "stdout") {
    started.push(child);
    let url: string | undefined;
    while (url === undefined) {
      [, url] = /metrics at (http:\S+)/.exec(child[stream]) ?? [];
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return async () => await (await fetch(url)).text();
  }

  test("of shippers, primaries and followers", async () => {
    const [first, second] = [folder.file(), folder.file()];
    const databases = [first, second].map((file) => openWal(file));
    const place = pathToFileURL(`${first}-backups`).href;
    const metrics = ["--metrics", "127.0.0.1:0"];
    const ships = start("ship", first, second, place, "--interval", "20", ...metrics);
    const shipping = await scraped(ships);
    const lease = () => shipping().then((text) => valuesOf(text, "ship_storage_position"));
    while (!Object.values(await lease()).every((position) => position > 0)) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const text = await shipping();
    expect(Object.keys(valuesOf(text, "ship_last_verified_timestamp_seconds"))).toEqual([
      first,
      second,
    ]);
    const serves = start("serve-wal", first, "--listen", "127.0.0.1:0", ...metrics);
    const serving = await scraped(serves);
    expect(valuesOf(await serving(), "live_followers")).toEqual({ [first]: 0 });
    const [, url = ""] = /listening on (ws:\S+)/.exec(serves.stdout) ?? [];
    const follows = start("follow", url, `${first}.copy`, ...metrics);
    const following = await scraped(follows, "stderr");
    const { [`${first}.copy`]: position = 0 } = valuesOf(await following(), "follow_position");
    expect(position).toBeGreaterThan(0);
    expect(valuesOf(await serving(), "live_followers")).toEqual({ [first]: 1 });
    for (const child of [follows, serves, ships]) {
      child.kill("SIGTERM");
      expect(await child.finished).toMatchObject({ code: 0 });
    }
    for (const db of databases) db.close();
  });
});
