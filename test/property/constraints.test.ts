/**
 * CHECK and NOT NULL among replicas of which not all have them: whatever the histories and the order
 * of delivery, the strict ones show the same rows. A lax one, which has no constraints and writes
 * too, knows the logical rows; what strict ones show follows from these.
 */

import Database from "better-sqlite3";
import fc from "fast-check";
import { expect, test } from "vitest";
import { native } from "../../src/native.ts";
import {
  attachRaw,
  converge,
  deliver,
  maintainAll,
  openRaw,
  type RawReplica,
  teachShapes,
} from "../support/replica.ts";
import { unlimited } from "../support/unlimited.ts";

const strict =
  "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER NOT NULL DEFAULT 7 CHECK (a < 9), " +
  "b INTEGER NOT NULL, c INTEGER DEFAULT 5, CHECK (c > b), UNIQUE (a, c))";
const lax = "CREATE TABLE t (id INTEGER PRIMARY KEY, a DEFAULT 7, b, c DEFAULT 5)";
// Its inserts set neither `a`, which has a default, nor `b`, which has none.
const narrow = "CREATE TABLE t (id INTEGER PRIMARY KEY, c)";
const schemas = [strict, strict, lax, narrow];
const strictPeers = 2;
const laxPeer = 2;
const { PROPERTY_RUNS = "2000", PROPERTY_SEED = "1" } = process.env;
const runs = { numRuns: Math.ceil(Number(PROPERTY_RUNS) / 8), seed: Number(PROPERTY_SEED) };

interface Row {
  id: number;
  a: number | null;
  b: number | null;
  c: number | null;
}

const value = fc.constantFrom(null, 1, 2, 3, 9, 10);
const row = fc.record<Row>({ id: fc.integer({ min: 1, max: 5 }), a: value, b: value, c: value });
const statements = {
  insert: "INSERT INTO t (id, a, b, c) VALUES (@id, @a, @b, @c)",
  replace: "INSERT OR REPLACE INTO t (id, a, b, c) VALUES (@id, @a, @b, @c)",
  part: "INSERT OR IGNORE INTO t (id, c) VALUES (@id, @c)",
  both: "UPDATE t SET b = @b, c = @c WHERE id = @id",
  a: "UPDATE t SET a = @a WHERE id = @id",
  b: "UPDATE t SET b = @b WHERE id = @id",
  c: "UPDATE t SET c = @c WHERE id = @id",
  remove: "DELETE FROM t WHERE id = @id",
} as const;
const peer = fc.nat({ max: schemas.length - 1 });
const step = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("write"),
      row,
      peer,
      statement: fc.constantFrom(...Object.values(statements)),
      clockMs: fc.integer({ min: -900, max: 900 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("deliver"),
      from: peer,
      to: peer,
      changesets: fc.integer({ min: 1, max: 9 }),
      maintain: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("reopen"), at: peer }) },
);

/** What a table with the constraints holds of these rows, oldest births first. */
function shownRows(observer: RawReplica): Row[] {
  const rows = observer.db.prepare("SELECT * FROM t").all() as Row[];
  const newestInsert = observer.db.prepare(
    "SELECT _patchedAt AS at, _peerId AS peer FROM t_patches WHERE _op = 'insert' AND id = ? ORDER BY 1 DESC, 2 DESC LIMIT 1",
  );
  const birthOf = new Map(
    rows.map(({ id }) => [id, newestInsert.get(id) as { at: number; peer: number }]),
  );
  const shown: Row[] = [];
  for (const { id, a, b, c } of rows.toSorted((one, other) => {
    const [x, y] = [birthOf.get(one.id), birthOf.get(other.id)];
    return (x?.at ?? 0) - (y?.at ?? 0) || (x?.peer ?? 0) - (y?.peer ?? 0) || one.id - other.id;
  })) {
    const candidate = { id, a: a ?? 7, b, c };
    if (b === null) continue;
    if (c !== null && shown.some((other) => other.a === candidate.a && other.c === c)) continue;
    shown.push(candidate);
  }
  return shown.toSorted((one, other) => one.id - other.id);
}

const violates = ({ a, b, c }: Row) =>
  (a !== null && a >= 9) || (b !== null && c !== null && c <= b);

function write({ db }: RawReplica, statement: string, values: Row): void {
  try {
    db.prepare(statement).run(values);
  } catch (error) {
    // The constraints, and columns the narrow one lacks.
    if (!/constraint failed|no such column|has no column/.test(String(error))) throw error;
  }
}

function reopen(replicas: RawReplica[], at: number, nowMs: number): void {
  const old = replicas[at] as RawReplica;
  const content = old.db.serialize();
  old.db.close();
  replicas[at] = attachRaw(new Database(content));
  native.setClock(replicas[at].handle, nowMs);
}

test(
  "rows that constraints refuse are the same on all replicas that have them",
  () => {
    const property = fc.property(fc.array(step, { minLength: 5, maxLength: 60 }), (steps) => {
      const replicas = schemas.map((schema) => openRaw(":memory:", schema, ["t"]));
      try {
        let nowMs = Date.UTC(2026, 0, 1);
        for (const to of replicas) for (const from of replicas) teachShapes(from, to);
        for (const { handle } of replicas) native.setClock(handle, nowMs);
        for (const one of steps) {
          nowMs += 1;
          if ("statement" in one) {
            const replica = replicas[one.peer] as RawReplica;
            native.setClock(replica.handle, nowMs + one.clockMs);
            write(replica, one.statement, one.row);
          } else if ("at" in one) {
            reopen(replicas, one.at, nowMs);
          } else if (one.from !== one.to) {
            const to = replicas[one.to] as RawReplica;
            deliver(replicas[one.from] as RawReplica, to, one.changesets);
            if (one.maintain) maintainAll(to);
          }
        }
        for (const { handle } of replicas) native.setClock(handle, nowMs + 2000);
        converge(replicas);
        const expected = shownRows(replicas[laxPeer] as RawReplica);
        for (const { db } of replicas.slice(0, strictPeers)) {
          expect(db.prepare("SELECT * FROM t ORDER BY id").all()).toEqual(expected);
          const marks = db
            .prepare("SELECT count(*) FROM _mergelite_parked WHERE reason = 'check'")
            .pluck()
            .get();
          expect(marks).toBe(expected.filter(violates).length);
        }
      } finally {
        for (const { db } of replicas) db.close();
      }
    });
    fc.assert(property, runs);
  },
  unlimited,
);
