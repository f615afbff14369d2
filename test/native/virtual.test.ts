/** What simulations rely on: chance from a seed, slices that do not depend on the machine. */
import Database from "better-sqlite3";
import { expect, it } from "vitest";
import { attach } from "../../src/attach.ts";
import { native } from "../../src/native.ts";
import { temporaryFolder } from "../support/folder.ts";
import { attachRaw, handleOf, openRaw, pull, recordsOf, teachShapes } from "../support/replica.ts";

const folder = temporaryFolder();
const schema = "CREATE TABLE note (id INTEGER PRIMARY KEY, a)";

it("draws_the_same_peer_id_from_the_same_seed", () => {
  const idOf = (seed: number) => {
    const db = new Database(":memory:");
    native.setSeed(handleOf(db), seed);
    return attachRaw(db).peerId;
  };
  expect(idOf(7)).toBe(idOf(7));
  expect(idOf(8)).not.toBe(idOf(7));
  expect(idOf(0)).not.toBe(idOf(0));
});

it("counts_looks_instead_of_time_under_a_fixed_clock", () => {
  const here = openRaw(":memory:", schema, ["note"]);
  const insert = here.db.prepare("INSERT INTO note VALUES (?, ?)");
  for (let id = 1; id <= 10; id++) insert.run(id, "x");
  const there = openRaw(":memory:", schema, ["note"]);
  teachShapes(here, there);
  native.setClock(there.handle, Date.now() + 1000);
  const records = recordsOf(here, here.peerId);
  const merged = native.merge(there.handle, records, 0, 4);
  expect(merged).toMatchObject({ changesets: 4, more: true });
  pull(here, there);
  expect(there.db.prepare("SELECT count(*) FROM note").pluck().get()).toBe(10);
});

it("sees_commits_of_another_connection_when_told_to_look", async () => {
  const file = folder.file();
  const db = new Database(file);
  db.pragma("journal_mode = WAL");
  db.exec(schema);
  const replica = attach(db, { tables: ["note"], watchFile: false });
  const other = openRaw(file, "", []);
  const tokens: string[] = [];
  replica.on("commit", ({ token }) => tokens.push(token));
  other.db.exec("INSERT INTO note VALUES (1, 'x')");
  expect(tokens).toEqual([]);
  replica.poll();
  expect(tokens).toEqual([replica.token()]);
  await replica.close();
  replica.poll();
});

it("settles rows only when their own changesets have been looked at", () => {
  const unique = "CREATE TABLE handle (id INTEGER PRIMARY KEY, name TEXT UNIQUE)";
  const file = folder.file();
  const nowMs = Date.now();
  const there = openRaw(":memory:", unique, ["handle"]);
  native.setClock(there.handle, nowMs);
  there.db.exec("INSERT INTO handle VALUES (2, 'x')");
  const here = openRaw(file, unique, ["handle"]);
  native.setClock(here.handle, nowMs - 1000);
  here.db.exec("INSERT INTO handle VALUES (1, 'x')");
  pull(there, here);
  // Row 2 is withheld. It becomes free, and younger ones want its name; nothing looks at that yet.
  const insert = here.db.prepare("INSERT INTO handle VALUES (?, ?)");
  for (let id = 100; id < 140; id++) insert.run(id, `filler ${id}`);
  here.db.exec("DELETE FROM handle WHERE id = 1; INSERT INTO handle VALUES (3, 'x')");
  native.close(here.handle);
  here.db.close();

  const again = attachRaw(new Database(file));
  native.setClock(again.handle, nowMs + 1000);
  for (let more = true; more; ) more = native.maintain(again.handle, 1).more;
  const rows = again.db.prepare("SELECT id FROM handle WHERE name = 'x'").pluck();
  expect(rows.all()).toEqual([2]);
  pull(again, there);
  expect(there.db.prepare("SELECT id FROM handle WHERE name = 'x'").pluck().all()).toEqual([2]);
  again.db.close();
});
