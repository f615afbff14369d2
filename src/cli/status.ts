/** `mergelite status`: what a file holds, without opening it for writing. */

import { wallMsOf } from "../log/timestamp.ts";
import type { Binding, Handle, NativeFloor } from "../native.ts";
import { floorStatusOf, type Status } from "../status.ts";
import { decodeFloorRecord } from "../sync/protocol-floor.ts";
import { type Command, type CommandInput, jsonOption } from "./command.ts";
import { findOrphans, type ListedConflict, listConflicts, printConflicts } from "./conflicts.ts";
import { withReplicatedFile } from "./database.ts";
import { exitCodes } from "./failure.ts";
import { alignRows, formatCount, type Output, plural } from "./output.ts";
import { countRows, hasTable } from "./tables.ts";
import { formatTimestamp } from "./timestamp.ts";

export const status: Command = {
  name: "status",
  usage: "FILE [--conflicts]",
  summary: "show what a file holds: peers, log, parked patches",
  description: `Shows the peer id of FILE, its replicated tables, its log, how far it holds and has merged
every origin, which patches are parked, and which rows violate a constraint. With --conflicts
these are listed, up to 1,000. Reads only: a running replica is not disturbed. Foreign keys are
looked at row by row.`,
  options: {
    json: jsonOption,
    conflicts: { type: "boolean", help: "list what is in conflict, one by one" },
  },
  positionals: [1, 1],
  run: showStatus,
};

interface FileStatus {
  readonly file: string;
  readonly peerId: number;
  readonly tables: { table: string; rows: number }[];
  readonly log: { changesets: number; bytes: number; newest: string | null };
  /** This peer first. */
  readonly origins: { peerId: number; held: number; merged: number; trimmed: number }[];
  /** Those this file has linked with. */
  readonly peers: { peerId: number; behind: number; heard: string; forgotten: boolean }[];
  readonly parked: { table: string; reason: string; count: number }[];
  readonly violations: Status["violations"];
  readonly refused: number;
  readonly floor: FileFloor | null;
  readonly conflicts?: ListedConflict[];
}

/** What is known of the cluster's floor; null before there was anything to know. */
interface FileFloor {
  readonly members: number;
  readonly forgotten: number;
  /** Every member holds everything below it. */
  readonly floor: string | null;
  /** Tombstones below it are gone from this file. */
  readonly swept: string | null;
  /** Members that the next floor waits for. */
  readonly waitsFor: number[];
}

async function showStatus({ arguments: [file = ""], values, output }: CommandInput) {
  const found = await withReplicatedFile(file, (db, handle, native): FileStatus => {
    const { peerId, logRows, logBytes, timestamp, parked, refused } = native.status(handle);
    const newest = wallMsOf(timestamp);
    // One that was dropped without the extension is replicated no more from the next attach on.
    const tables = native.tables(handle).filter((table) => hasTable(db, table));
    const orphans = findOrphans(native, handle, tables);
    return {
      file,
      peerId,
      tables: tables.map((table) => ({ table, rows: countRows(db, table) })),
      log: {
        changesets: logRows,
        bytes: logBytes,
        newest: newest === undefined ? null : new Date(newest).toISOString(),
      },
      origins: originsOf(native.vector(handle), pairsOf(native.horizon(handle))),
      peers: peersOf(native, handle),
      parked: parked.filter(({ reason }) => reason !== "check"),
      violations: [
        ...parked
          .filter(({ reason }) => reason === "check")
          .map(({ table, count }) => ({ table, reason: "check" as const, count })),
        ...orphans.counts.map((one) => ({ ...one, reason: "foreign-key" as const })),
      ],
      refused,
      floor: floorOf(native.floor(handle)),
      ...(values.flag("conflicts") ? { conflicts: listConflicts(native, handle, orphans) } : {}),
    };
  });
  if (values.flag("json")) output.document(found);
  else print(found, output);
  return exitCodes.done;
}

function floorOf({ state, swept }: NativeFloor): FileFloor | null {
  if (state.byteLength === 0) return null;
  const isoOf = (ms: number | null) => (ms === null ? null : new Date(ms).toISOString());
  const { members, forgotten, floorMs, waitsFor } = floorStatusOf(decodeFloorRecord(state), false);
  const sweptMs = wallMsOf(swept) ?? null;
  return { members, forgotten, floor: isoOf(floorMs), swept: isoOf(sweptMs), waitsFor };
}

function pairsOf(flat: Float64Array): Map<number, number> {
  const pairs = new Map<number, number>();
  for (let i = 0; i + 1 < flat.length; i += 2) pairs.set(flat[i] ?? 0, flat[i + 1] ?? 0);
  return pairs;
}

function peersOf(native: Binding, handle: Handle): FileStatus["peers"] {
  const origins = originsOf(native.vector(handle), new Map());
  return native.peers(handle).map(({ peerId, vector, heardMs, forgotten }) => {
    const holds = pairsOf(vector);
    let behind = 0;
    for (const { peerId: origin, held } of origins) {
      behind += Math.max(held - (holds.get(origin) ?? 0), 0);
    }
    return { peerId, behind, heard: new Date(heardMs).toISOString(), forgotten };
  });
}

function originsOf(
  triples: Float64Array,
  horizon: ReadonlyMap<number, number>,
): FileStatus["origins"] {
  const origins: FileStatus["origins"] = [];
  for (let i = 0; i + 2 < triples.length; i += 3) {
    const [peerId = 0, held = 0, merged = 0] = triples.subarray(i, i + 3);
    origins.push({ peerId, held, merged, trimmed: horizon.get(peerId) ?? 0 });
  }
  return origins;
}

function print(found: FileStatus, output: Output): void {
  const { peerId, tables, log, origins, peers, parked, violations, refused, conflicts } = found;
  const block = (title: string, rows: (string | number)[][]) => {
    alignRows(rows).forEach((line, i) => {
      output.line(`${(i === 0 ? title : "").padEnd(8)} ${line}`);
    });
  };
  block("peer", [[`${peerId}`]]);
  block(
    "tables",
    tables.length === 0
      ? [["none"]]
      : tables.map(({ table, rows }) => [table, rows, rows === 1 ? "row" : "rows"]),
  );
  const newest = log.newest === null ? "" : `, newest ${formatTimestamp(Date.parse(log.newest))}`;
  block("log", [[`${plural(log.changesets, "changeset")}, ${plural(log.bytes, "byte")}${newest}`]]);
  const trimmed = origins.some((origin) => origin.trimmed > 0);
  block(
    "origins",
    origins.map((origin) => [
      `${origin.peerId}`,
      "held",
      origin.held,
      "merged",
      origin.merged,
      ...(trimmed ? ["trimmed", origin.trimmed] : []),
      origin.peerId === peerId ? "this peer" : "",
    ]),
  );
  if (peers.length > 0) {
    block(
      "known",
      peers.map((peer) => [
        `${peer.peerId}`,
        "behind",
        peer.behind,
        `heard ${formatTimestamp(Date.parse(peer.heard))}`,
        peer.forgotten ? "forgotten" : "",
      ]),
    );
  }
  block(
    "parked",
    parked.length === 0
      ? [["none"]]
      : parked.map(({ table, reason, count }) => [table, count, `waiting for: ${reason}`]),
  );
  if (violations.length > 0) {
    block(
      "rows",
      violations.map(({ table, reason, count }) => [table, count, `in violation of: ${reason}`]),
    );
  }
  if (found.floor !== null) printFloor(found.floor, block);
  if (refused > 0) block("refused", [[formatCount(refused)]]);
  if (conflicts !== undefined) printConflicts(conflicts, output);
}

function printFloor(
  { members, floor, swept, waitsFor }: FileFloor,
  block: (title: string, rows: (string | number)[][]) => void,
): void {
  const told = (name: string, at: string | null) =>
    at === null ? [] : [`${name} ${formatTimestamp(Date.parse(at))}`];
  const waits = waitsFor.length === 0 ? [] : [`waits for ${waitsFor.join(", ")}`];
  const parts = [plural(members, "member"), ...told("at", floor), ...told("swept to", swept)];
  block("floor", [[[...parts, ...waits].join(", ")]]);
}
