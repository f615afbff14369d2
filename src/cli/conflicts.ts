/** `mergelite status --conflicts`: what is parked, refused or in violation, one by one. */
import type { Binding, Handle, SqlValue } from "../native.ts";
import { alignRows, type Output } from "./output.ts";
import { toJsonValue, toLiteral } from "./values.ts";

const listedMax = 1000;
/** Nothing else runs in this process. */
const noHurryMs = 60_000;

export interface ListedConflict {
  readonly table: string;
  readonly reason: string;
  readonly detail: string;
  readonly origin: number;
  readonly sequence: number;
  readonly key: Readonly<Record<string, unknown>>;
  readonly values: Readonly<Record<string, unknown>>;
}

export interface Orphans {
  readonly counts: { table: string; count: number }[];
  readonly listed: ListedConflict[];
}

/** Looks through all tables that have foreign keys. */
export function findOrphans(native: Binding, handle: Handle, tables: readonly string[]): Orphans {
  const counts: Orphans["counts"] = [];
  const listed: ListedConflict[] = [];
  for (const table of tables) {
    let count = 0;
    let afterKey: Uint8Array = new Uint8Array();
    for (let done = false; !done; ) {
      const left = listedMax - listed.length;
      const page = native.orphans(handle, table, afterKey, noHurryMs, left);
      for (const { detail, key, values } of page.found) {
        const of = { table, reason: "foreign-key", detail, origin: 0, sequence: 0 };
        listed.push({ ...of, key: toJson(key), values: toJson(values) });
      }
      count += page.count;
      ({ lastKey: afterKey, done } = page);
    }
    if (count > 0) counts.push({ table, count });
  }
  return { counts, listed };
}

export function listConflicts(native: Binding, handle: Handle, orphans: Orphans): ListedConflict[] {
  const parked = native.conflicts(handle, 0, listedMax, "", "", 0).map((found): ListedConflict => {
    const { table, reason, detail, origin, sequence } = found;
    return {
      ...{ table, reason, detail, origin, sequence },
      ...{ key: toJson(found.key), values: toJson(found.values) },
    };
  });
  const refused = native.refused(handle, 0, 0, listedMax).map((one): ListedConflict => {
    const { origin, sequence, reason: detail } = one;
    return { table: "", reason: "changeset", detail, origin, sequence, key: {}, values: {} };
  });
  return [...parked, ...refused, ...orphans.listed].slice(0, listedMax);
}

export function printConflicts(conflicts: readonly ListedConflict[], output: Output): void {
  if (conflicts.length === 0) return;
  output.line();
  const rows = conflicts.map(({ table, reason, origin, sequence, key, values, detail }) => [
    table === "" ? "changeset" : table,
    reason,
    origin === 0 ? "" : `${origin}.${sequence}`,
    assignments(key),
    assignments(values),
    detail,
  ]);
  for (const line of alignRows(rows)) output.line(line);
}

function toJson(pairs: readonly SqlValue[]): Record<string, unknown> {
  const entries: [string, unknown][] = [];
  for (let i = 0; i + 1 < pairs.length; i += 2) {
    entries.push([String(pairs[i]), toJsonValue(pairs[i + 1])]);
  }
  return Object.fromEntries(entries);
}

function assignments(values: Readonly<Record<string, unknown>>): string {
  return Object.entries(values)
    .map(([name, value]) => `${name} = ${literalOf(value)}`)
    .join(", ");
}

/** What JSON could not hold is an object by now. */
function literalOf(value: unknown): string {
  if (typeof value !== "object" || value === null) return toLiteral(value);
  if ("blob" in value) return toLiteral(Buffer.from(String(value.blob), "hex"));
  if ("real" in value) return String(value.real);
  return "integer" in value ? String(value.integer) : "";
}
