/** What must be so at any time, and what must be so in the end. */

import type Database from "better-sqlite3";
import type { OriginMarks } from "../../src/log/store.ts";
import { dump, quoted } from "../support/replica.ts";
import type { Ledger } from "./ledger.ts";
import type { Peer, Running } from "./peer.ts";
import { rowClocks } from "./row-clocks.ts";
import { brokenAccounts, foldEverything, lacksOf, tableNames } from "./schema.ts";
import { prepared } from "./statements.ts";
import { versionedTables } from "./versions.ts";

const waitsForSchema =
  "SELECT 1 FROM _mergelite_parked WHERE reason IN ('table', 'column') LIMIT 1";

/** Peers with something open, for what follows. */
export function runningOf(peers: readonly Peer[]): { peer: Peer; running: Running }[] {
  return peers.flatMap((peer) =>
    peer.running === undefined ? [] : [{ peer, running: peer.running }],
  );
}

/** A reader sees a changeset whole or not at all. */
export function checkAtomic(peers: readonly Peer[]): string | undefined {
  for (const { peer, running } of runningOf(peers)) {
    if (peer.isReceivingState) continue;
    const broken = prepared(running.db, brokenAccounts).pluck().all();
    if (broken.length > 0) return `peer ${peer.number} shows half of accounts ${broken.join(", ")}`;
  }
  return undefined;
}

/** Those who hold and show the same changesets show the same rows, long before the end. */
export function checkEqualVectors(peers: readonly Peer[]): string | undefined {
  const first = new Map<string, { peer: Peer; running: Running }>();
  for (const { peer, running } of runningOf(peers)) {
    const key = comparedBy(peer, running);
    if (key === undefined) continue;
    const other = first.get(key);
    if (other === undefined) first.set(key, { peer, running });
    else {
      const [expected, rows] = [rowsOf(other.running), rowsOf(running)];
      if (rows === expected) continue;
      const numbers = `${other.peer.number} and ${peer.number}`;
      return `peers ${numbers} hold the same and show: ${difference(expected, rows)}`;
    }
  }
  return undefined;
}

function rowsOf({ db }: Running): string {
  return ["note", "ledger", "journal"].map((name) => dump(db, name).join("\n")).join("\n\n");
}

/** Peers with one key have to show the same; undefined where it cannot be told yet. */
function comparedBy(peer: Peer, running: Running): string | undefined {
  if (peer.isReceivingState) return undefined;
  const marks = running.replica.vector();
  if (marks.some(({ held, merged }) => held !== merged)) return undefined;
  // What a column or table was missing for is merged a moment after it has appeared.
  if (prepared(running.db, waitsForSchema).get() !== undefined) return undefined;
  const vector = marks
    .filter(({ held }) => held > 0)
    .map(({ peerId, held }) => `${peerId}.${held}`)
    .sort();
  return JSON.stringify([vector, lacksOf(running.db)]);
}

/**
 * What a peer has of a changeset that nobody holds any more: a transfer of state had brought some of
 * its rows, and was cut, and then the sender's file lost it. `verify` would find these rows.
 */
export function findStray(
  peers: readonly Peer[],
  givenUp: ReadonlySet<number>,
): string | undefined {
  const held = new Map<number, number>();
  for (const peer of peers) {
    for (const [origin, sequence] of peer.held) {
      held.set(origin, Math.max(held.get(origin) ?? 0, sequence));
    }
  }
  for (const { peer, running } of runningOf(peers)) {
    const origins = prepared(
      running.db,
      "SELECT peer, reached FROM _mergelite_origins WHERE reached > held",
    )
      .raw()
      .all() as [number, number][];
    const stray = origins.find(
      ([origin, reached]) => reached > (held.get(origin) ?? 0) && !givenUp.has(origin),
    );
    if (stray !== undefined) return `peer ${peer.number} has rows of lost ${stray.join(".")}`;
  }
  return undefined;
}

/** Whether there is nothing left to do: asked often, so it is cheap. */
export function isQuiet(peers: readonly Peer[], ledger: Ledger): boolean {
  if (peers.some(({ gone, running }) => !gone && running === undefined)) return false;
  const writers = new Set(peers.map(({ peerId }) => peerId));
  let expected: string | undefined;
  for (const { running } of runningOf(peers)) {
    const { replica } = running;
    const marks = replica.vector();
    const isWaiting = ({ peerId, held, merged }: OriginMarks) =>
      held !== merged && (writers.has(peerId) || !ledger.isCutOff(peerId, merged, held));
    if (marks.some(isWaiting)) return false;
    const vector = marks
      .filter(({ held }) => held > 0)
      .map(({ peerId, held }) => `${peerId}.${held}`)
      .sort()
      .join(" ");
    expected ??= vector;
    if (vector !== expected || replica.metrics().mergeQueueBytes > 0) return false;
  }
  return true;
}

/** Every link knows that the other side has everything: no gap is open, nothing is in flight. */
export function checkLinks(peers: readonly Peer[]): string | undefined {
  for (const { peer, running } of runningOf(peers)) {
    const { links } = running.replica.status();
    const behind = links.find((link) => link.behind > 0);
    if (behind !== undefined) {
      return `peer ${peer.number} thinks that ${behind.name} lacks ${behind.behind} changesets`;
    }
  }
  return undefined;
}

/**
 * All peers show the same rows, of the same types, and remember the same of each row. `repaired`: of
 * rows that are there, for nobody compares what two peers remember of a row that neither has.
 */
export function checkConverged(
  peers: readonly Peer[],
  { ledger, repaired }: { ledger: Ledger; repaired: boolean },
): string | undefined {
  const all = runningOf(peers);
  const first = all[0];
  if (first === undefined) return undefined;
  for (const table of [...tableNames, ...versionedTables(first.running.db)]) {
    const expected = dumpSorted(first.running.db, table);
    for (const { peer, running } of all) {
      const rows = dumpSorted(running.db, table);
      if (rows === expected) continue;
      return `table ${table} of peers ${first.peer.number} and ${peer.number}: ${difference(expected, rows)}`;
    }
  }
  return checkRowClocks(all, { ledger, repaired });
}

/** Columns by name: one that was dropped and added again is the last. */
function dumpSorted(db: Database.Database, table: string): string {
  const columns = db.prepare("SELECT name FROM pragma_table_xinfo(?) ORDER BY name").pluck();
  const names = (columns.all(table) as string[]).map(quoted).join(", ");
  db.exec(`CREATE TEMP VIEW sorted AS SELECT ${names} FROM ${quoted(table)}`);
  const rows = dump(db, "sorted");
  db.exec("DROP VIEW temp.sorted");
  return rows.join("\n");
}

function checkRowClocks(
  all: readonly { peer: Peer; running: Running }[],
  { ledger, repaired }: { ledger: Ledger; repaired: boolean },
): string | undefined {
  for (const { running } of all) running.db.exec(foldEverything);
  const horizonMs = Math.max(
    ...all.map(({ running }) => running.replica.status().floor.horizonMs ?? 0),
  );
  const [one] = all;
  for (const table of [...tableNames, ...(one ? versionedTables(one.running.db) : [])]) {
    let expected: string | undefined;
    for (const { peer, running } of all) {
      const clocks = rowClocks(running.db, table, {
        nameOf: (id) => ledger.ownerOf(id),
        horizonMs,
      })
        .filter((clock) => !repaired || clock.includes(": alive "))
        .join("\n");
      expected ??= clocks;
      if (clocks === expected) continue;
      const numbers = `${all[0]?.peer.number} and ${peer.number}`;
      return `row clocks of ${table} at peers ${numbers}: ${difference(expected, clocks)}`;
    }
  }
  return undefined;
}

/** The first lines that only one side has. */
function difference(left: string, right: string): string {
  const here = left.split("\n");
  const there = right.split("\n");
  const onlyHere = here.filter((line) => !there.includes(line)).slice(0, 3);
  const onlyThere = there.filter((line) => !here.includes(line)).slice(0, 3);
  const short = (lines: string[]) => lines.map((line) => line.slice(0, 300)).join(" ; ");
  return `[${short(onlyHere)}] here, [${short(onlyThere)}] there`;
}
