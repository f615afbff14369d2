/**
 * UNIQUE among replicas (ARCHITECTURE.md, withheld rows): whatever the histories and the order of
 * delivery, all replicas show the same rows, namely those that no older shown row conflicts with.
 * An observer without the constraints merges everything too, so it knows the logical rows. One of
 * the files is used through two connections, each of which remembers what it has seen of it.
 */
import Database from "better-sqlite3";
import fc from "fast-check";
import { expect, test } from "vitest";
import { native } from "../../src/native.ts";
import { temporaryFolder } from "../support/folder.ts";
import {
  attachRaw,
  converge,
  deliver,
  maintainAll,
  openRaw,
  type RawReplica,
} from "../support/replica.ts";
import { unlimited } from "../support/unlimited.ts";

const columns = "id INTEGER PRIMARY KEY, a TEXT COLLATE NOCASE, b INTEGER, c INTEGER, v TEXT";
const constrained =
  `CREATE TABLE t (${columns}, UNIQUE (a), UNIQUE (b, c));` +
  "CREATE UNIQUE INDEX partly ON t (v) WHERE v IS NOT NULL AND b > 1";
const { PROPERTY_RUNS = "2000", PROPERTY_SEED = "1" } = process.env;
const histories = Math.ceil(Number(PROPERTY_RUNS) / 8);
const seed = Number(PROPERTY_SEED);

interface Row {
  id: number;
  a: string | null;
  b: number | null;
  c: number | null;
  v: string | null;
}

const row = fc.record<Row>({
  id: fc.integer({ min: 1, max: 6 }),
  a: fc.constantFrom("x", "X", "y", "z", null),
  b: fc.integer({ min: 0, max: 2 }),
  c: fc.integer({ min: 0, max: 2 }),
  v: fc.constantFrom("p", "q", null),
});
const statements = {
  insert: "INSERT INTO t VALUES (@id, @a, @b, @c, @v)",
  replace: "INSERT OR REPLACE INTO t VALUES (@id, @a, @b, @c, @v)",
  ignore: "UPDATE OR IGNORE t SET a = @a, b = @b WHERE id <= @id",
  name: "UPDATE t SET a = @a WHERE id = @id",
  pair: "UPDATE OR REPLACE t SET b = @b, c = @c WHERE id = @id",
  value: "UPDATE t SET v = @v WHERE id = @id",
  rename: "UPDATE OR IGNORE t SET id = @b + 1 WHERE id = @id",
  remove: "DELETE FROM t WHERE id = @id",
} as const;
const step = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("write"),
      row,
      peer: fc.nat(2),
      beside: fc.boolean(),
      statement: fc.constantFrom(...Object.values(statements)),
      clockMs: fc.integer({ min: -900, max: 900 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("deliver"),
      from: fc.nat(2),
      to: fc.nat(2),
      changesets: fc.integer({ min: 1, max: 9 }),
      maintain: fc.boolean(),
      beside: fc.boolean(),
    }),
  },
);

/** The rows in the order of their births, and of those the ones that do not stand in each other's way. */
function shownRows(observer: RawReplica): Row[] {
  const rows = observer.db.prepare("SELECT * FROM t").all() as Row[];
  const newestInsert = observer.db.prepare(
    "SELECT _patchedAt AS at, _peerId AS peer FROM t_patches WHERE _op = 'insert' AND id = ? ORDER BY 1 DESC, 2 DESC LIMIT 1",
  );
  const birthOf = new Map(
    rows.map(({ id }) => [id, newestInsert.get(id) as { at: number; peer: number }]),
  );
  const ordered = rows.toSorted((one, other) => {
    const [a, b] = [birthOf.get(one.id), birthOf.get(other.id)];
    return (a?.at ?? 0) - (b?.at ?? 0) || (a?.peer ?? 0) - (b?.peer ?? 0) || one.id - other.id;
  });
  const shown: Row[] = [];
  for (const candidate of ordered) {
    if (!shown.some((other) => conflict(candidate, other))) shown.push(candidate);
  }
  return shown.toSorted((one, other) => one.id - other.id);
}

function conflict(one: Row, other: Row): boolean {
  if (one.a !== null && one.a.toLowerCase() === other.a?.toLowerCase()) return true;
  if (one.b !== null && one.c !== null && one.b === other.b && one.c === other.c) return true;
  const inPart = (row: Row) => row.v !== null && row.b !== null && row.b > 1;
  return inPart(one) && inPart(other) && one.v === other.v;
}

const folder = temporaryFolder({ inMemory: true });

/** Three peers, and the last one's file through another connection. */
function openPeers(): [peers: RawReplica[], beside: RawReplica] {
  const file = folder.file();
  const peers = [":memory:", ":memory:", file].map((name) => openRaw(name, constrained, ["t"]));
  const beside = attachRaw(new Database(file));
  for (const { db } of [...peers, beside]) db.pragma("synchronous = OFF");
  // From here on nothing is tried again for the schema's sake.
  for (const peer of [...peers, beside]) maintainAll(peer);
  return [peers, beside];
}

test(
  "rows that UNIQUE keeps apart are the same on all replicas: the older ones",
  () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 5, maxLength: 60 }), (steps) => {
        const [peers, beside] = openPeers();
        const door = (peer: number, other: boolean) =>
          peer === 2 && other ? beside : (peers[peer] as RawReplica);
        const observer = openRaw(":memory:", `CREATE TABLE t (${columns})`, ["t"]);
        try {
          let nowMs = Date.now();
          for (const one of steps) {
            nowMs += 1;
            if ("statement" in one) {
              const peer = door(one.peer, one.beside);
              native.setClock(peer.handle, nowMs + one.clockMs);
              write(peer, one.statement, one.row);
            } else if (one.from !== one.to) {
              const to = door(one.to, one.beside);
              deliver(peers[one.from] as RawReplica, to, one.changesets);
              if (one.maintain) maintainAll(to);
            }
          }
          for (const replica of [...peers, beside, observer])
            native.setClock(replica.handle, nowMs + 2000);
          converge([...peers, observer]);
          const expected = shownRows(observer);
          for (const peer of peers) {
            expect(peer.db.prepare("SELECT * FROM t ORDER BY id").all()).toEqual(expected);
          }
        } finally {
          for (const replica of [...peers, beside, observer]) replica.db.close();
        }
      }),
      { numRuns: histories, seed, endOnFailure: false },
    );
  },
  unlimited,
);

function write(peer: RawReplica, statement: string, values: Row): void {
  try {
    peer.db.prepare(statement).run(values);
  } catch (error) {
    if (!(error instanceof Error) || !/UNIQUE constraint failed/.test(error.message)) throw error;
  }
}
