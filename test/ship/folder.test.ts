/** A shipper's folder is one process's at a time, and free when that ends, however it does. */
import { pathToFileURL } from "node:url";
import { afterEach, describe, expect, test } from "vitest";
import { serveWal } from "../../src/live/index.ts";
import { fileStorage } from "../../src/storage/index.ts";
import { type Running, run, start } from "../support/cli.ts";
import { temporaryFolder } from "../support/folder.ts";
import { memoryStorage } from "../support/memory-storage.ts";
import { eager, expectSame, openWal, ship, watchShipper } from "../support/ship.ts";

const folder = temporaryFolder();
const active = { code: "SHIP_ACTIVE" };
const started: Running[] = [];
afterEach(() => {
  for (const one of started.splice(0)) one.kill("SIGKILL");
});

async function shipping(file: string, place: string): Promise<Running> {
  const child = start("ship", file, pathToFileURL(place).href, "--interval", "20", "--json");
  started.push(child);
  await child.printed(/"event":"shipped"/);
  return child;
}

describe("a folder that another process ships from", () => {
  test("is refused, and told why, until that process is killed", async () => {
    const file = folder.file();
    const db = openWal(file);
    db.exec("INSERT INTO note (body) VALUES ('a')");
    const first = await shipping(file, `${file}-one`);
    // Another place: the lease on that is to be had.
    const place = pathToFileURL(`${file}-two`).href;
    const second = await run("ship", file, place, "--interval", "20");
    expect(second.code).toBe(1);
    expect(second.stderr).toMatch(/-ship belongs to another process\nhint: .*stateDir/);
    const exec = await run("ship", file, place, "--exec", "echo begun");
    expect(exec).toMatchObject({ code: 1, stdout: "" });
    const storage = memoryStorage();
    const here = ship(db, storage, eager);
    const seen = watchShipper(here);
    await expect(here.flush()).rejects.toMatchObject(active);
    expect(here.failure).toMatchObject(active);
    expect(seen.failures).toHaveLength(1);
    await expect(here.close()).rejects.toMatchObject(active);
    expect(here.metrics().files).toBe(0);

    first.kill("SIGKILL");
    await first.finished;
    const third = ship(db, storage, eager);
    db.exec("INSERT INTO note (body) VALUES ('b')");
    await third.flush();
    await expectSame(storage, db, `${file}.copy`);
    await third.close();
    // Given back in good order, too.
    const fourth = await shipping(file, `${file}-one`);
    fourth.kill("SIGTERM");
    expect(await fourth.finished).toMatchObject({ code: 0 });
    await expectSame(fileStorage(`${file}-one`), db, `${file}.copy`);
    db.close();
  });

  test("does not keep who has a folder of its own from shipping", async () => {
    const file = folder.file();
    const db = openWal(file);
    const first = await shipping(file, `${file}-one`);
    const storage = memoryStorage();
    const here = ship(db, storage, { ...eager, stateDir: `${file}-own` });
    db.exec("INSERT INTO note (body) VALUES ('a')");
    await here.flush();
    await expectSame(storage, db, `${file}.copy`);
    await here.close();
    first.kill("SIGTERM");
    await first.finished;
    db.close();
  });

  test("is refused to whoever serves, too", async () => {
    const file = folder.file();
    const db = openWal(file);
    const first = await shipping(file, `${file}-one`);
    const server = serveWal(db, { stateDir: `${file}-ship` });
    await expect(server.flush()).rejects.toMatchObject(active);
    await server.close();
    first.kill("SIGTERM");
    await first.finished;
    db.close();
  });
});
