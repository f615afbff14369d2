/**
 * Foreign keys are enforced where one writes, not where one merges. So a history in which every peer
 * has seen everything before it writes leaves no orphan anywhere, in whatever order it arrives; and
 * concurrent ones leave the same rows, and the same orphans, on all.
 */
import fc from "fast-check";
import { expect, test } from "vitest";
import { native } from "../../src/native.ts";
import {
  converge,
  deliver,
  heldOf,
  mergeAll,
  openRaw,
  type RawReplica,
  recordsOf,
  teachShapes,
} from "../support/replica.ts";
import { unlimited } from "../support/unlimited.ts";

const schema = `
  CREATE TABLE p (id INTEGER PRIMARY KEY, code TEXT UNIQUE);
  CREATE TABLE c (id INTEGER PRIMARY KEY, p INTEGER REFERENCES p ON DELETE CASCADE,
    code TEXT REFERENCES p (code) ON UPDATE CASCADE ON DELETE SET NULL);
  CREATE TABLE g (id INTEGER PRIMARY KEY, c INTEGER REFERENCES c ON DELETE SET NULL,
    g INTEGER REFERENCES g ON DELETE CASCADE);
`;
const tables = ["p", "c", "g"];
const { PROPERTY_RUNS = "2000", PROPERTY_SEED = "1" } = process.env;
const runs = { numRuns: Math.ceil(Number(PROPERTY_RUNS) / 20), seed: Number(PROPERTY_SEED) };

const statements = [
  "INSERT OR IGNORE INTO p VALUES (@a, 'code' || @b)",
  "INSERT OR REPLACE INTO p VALUES (@a, 'code' || @b)",
  "UPDATE OR IGNORE p SET code = 'code' || @b WHERE id = @a",
  "UPDATE OR IGNORE p SET id = @b WHERE id = @a",
  "DELETE FROM p WHERE id = @a",
  "INSERT OR IGNORE INTO c VALUES (@a, @b, NULL)",
  "INSERT OR REPLACE INTO c SELECT @a, NULL, code FROM p WHERE id = @b",
  "UPDATE c SET p = @b WHERE id = @a",
  "DELETE FROM c WHERE id = @a",
  "INSERT OR REPLACE INTO g VALUES (@a, @b, NULL)",
  "INSERT OR IGNORE INTO g VALUES (@a, NULL, @b)",
  "UPDATE g SET g = @b, c = @a WHERE id = @a",
  "DELETE FROM g WHERE id = @a",
] as const;

const write = fc.record({
  peer: fc.nat(2),
  statement: fc.constantFrom(...statements),
  values: fc.record({ a: fc.integer({ min: 1, max: 4 }), b: fc.integer({ min: 1, max: 4 }) }),
  clockMs: fc.integer({ min: -900, max: 900 }),
});
const delivery = fc.record({ origin: fc.nat(2), count: fc.integer({ min: 1, max: 4 }) });

type Write = typeof write extends fc.Arbitrary<infer One> ? One : never;

function run({ db }: RawReplica, { statement, values }: Write): void {
  try {
    db.prepare(statement).run(values);
  } catch (error) {
    if (!/constraint failed/.test(String(error))) throw error;
  }
}

const orphansOf = ({ db }: RawReplica): unknown[] =>
  db.prepare("SELECT * FROM pragma_foreign_key_check").all();
const content = ({ db }: RawReplica): unknown[] =>
  tables.map((table) => db.prepare(`SELECT * FROM ${table} ORDER BY id`).all());

/** What the replica's own look finds, against SQLite's. */
function expectSameCount(replica: RawReplica): void {
  const own = tables.map((table) => {
    const page = native.orphans(replica.handle, table, new Uint8Array(), 1000, 100);
    expect(page.done).toBe(true);
    return [table, page.count];
  });
  const count = replica.db.prepare("SELECT count(DISTINCT rowid) FROM pragma_foreign_key_check(?)");
  expect(own).toEqual(tables.map((table) => [table, count.pluck().get(table)]));
}

function withReplicas(body: (peers: RawReplica[], observer: RawReplica) => void): void {
  const replicas = [0, 1, 2, 3].map(() => openRaw(":memory:", schema, tables));
  try {
    for (const to of replicas) for (const from of replicas) teachShapes(from, to);
    body(replicas.slice(0, 3), replicas[3] as RawReplica);
  } finally {
    for (const { db } of replicas) db.close();
  }
}

test(
  "a history that kept foreign keys keeps them, whatever the order of arrival",
  () => {
    const history = fc.record({
      writes: fc.array(write, { minLength: 5, maxLength: 30 }),
      deliveries: fc.array(delivery, { maxLength: 30 }),
    });
    const property = fc.property(history, ({ writes, deliveries }) => {
      withReplicas((peers, observer) => {
        let nowMs = Date.UTC(2026, 0, 1);
        for (const one of writes) {
          nowMs += 1;
          const writer = peers[one.peer] as RawReplica;
          native.setClock(writer.handle, nowMs + one.clockMs);
          run(writer, one);
          for (const other of peers) if (other !== writer) deliver(writer, other, 100);
        }
        native.setClock(observer.handle, nowMs + 2000);
        for (const { origin, count } of deliveries) {
          const { peerId, handle } = peers[origin] as RawReplica;
          const held = heldOf(observer, peerId);
          mergeAll(observer, native.readLog(handle, peerId, held + 1, held + count, 2 ** 30));
          expectSameCount(observer);
        }
        for (const from of peers) {
          mergeAll(observer, recordsOf(from, from.peerId, heldOf(observer, from.peerId)));
        }
        for (const replica of [...peers, observer]) {
          expect(orphansOf(replica)).toEqual([]);
          expect(content(replica)).toEqual(content(peers[0] as RawReplica));
        }
      });
    });
    fc.assert(property, runs);
  },
  unlimited,
);

test(
  "concurrent histories leave the same rows and the same orphans everywhere",
  () => {
    const step = fc.oneof(
      { weight: 3, arbitrary: write },
      { weight: 1, arbitrary: fc.record({ from: fc.nat(2), to: fc.nat(2), count: fc.nat(6) }) },
    );
    const property = fc.property(fc.array(step, { minLength: 5, maxLength: 50 }), (steps) => {
      withReplicas((peers, observer) => {
        let nowMs = Date.UTC(2026, 0, 1);
        for (const one of steps) {
          nowMs += 1;
          if ("statement" in one) {
            const writer = peers[one.peer] as RawReplica;
            native.setClock(writer.handle, nowMs + one.clockMs);
            run(writer, one);
          } else if (one.from !== one.to) {
            deliver(peers[one.from] as RawReplica, peers[one.to] as RawReplica, one.count + 1);
          }
        }
        const all = [...peers, observer];
        for (const { handle } of all) native.setClock(handle, nowMs + 2000);
        converge(all);
        for (const replica of all) {
          expect(content(replica)).toEqual(content(observer));
          expect(orphansOf(replica)).toEqual(orphansOf(observer));
          expectSameCount(replica);
        }
      });
    });
    fc.assert(property, runs);
  },
  unlimited,
);
