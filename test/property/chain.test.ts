/** Any set of files, with gaps, overlaps and repeats, against a search that tries everything. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { ltxKey, parseLtxKey } from "../../src/ltx/keys.ts";
import { type BackupFile, planChain, planTail } from "../../src/restore/chain.ts";

const numRuns = Math.min(5000, Number(process.env.PROPERTY_RUNS ?? 60) * 20);

const files: fc.Arbitrary<BackupFile[]> = fc.array(
  fc
    .record({
      level: fc.integer({ min: 0, max: 9 }),
      minTxid: fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 30 })),
      length: fc.integer({ min: 0, max: 12 }),
      bytes: fc.integer({ min: 1, max: 5 }),
      style: fc.constantFrom("plain" as const, "wide" as const),
    })
    .map(({ level, minTxid, length, bytes, style }) => {
      const file = { level, minTxid, maxTxid: minTxid + length };
      return { ...file, key: ltxKey(file, style), bytes, modifiedMs: 0 };
    }),
  { maxLength: 25 },
);

/** All positions that some order of files reaches. */
function reachable(all: readonly BackupFile[], from: readonly number[]): Set<number> {
  const reached = new Set(from);
  for (let size = -1; size !== reached.size; ) {
    size = reached.size;
    for (const position of [...reached]) {
      for (const { minTxid, maxTxid } of all) {
        if (minTxid <= position + 1 && maxTxid > position) reached.add(maxTxid);
      }
    }
  }
  return reached;
}

test("a chain reaches as far as any does, and each of its files follows the one before", () => {
  fc.assert(
    fc.property(
      files,
      fc.integer({ min: 1, max: 45 }),
      fc.array(fc.nat(24), { maxLength: 6 }),
      (all, upTo, bad) => {
        const without = new Set(bad.map((i) => all[i]?.key ?? ""));
        const usable = all.filter((file) => file.maxTxid <= upTo && !without.has(file.key));
        const snapshots = usable.filter(({ minTxid }) => minTxid === 1);
        const best = Math.max(
          0,
          ...reachable(
            usable,
            snapshots.map(({ maxTxid }) => maxTxid),
          ),
        );
        const chain = planChain(all, { upTo, without });
        expect(chain.position).toBe(best);
        expect(chain.files.at(-1)?.maxTxid ?? 0).toBe(best);
        chain.files.forEach((file, i) => {
          const before = chain.files[i - 1];
          if (before === undefined) expect(file.minTxid).toBe(1);
          else expect(file.minTxid).toBeLessThanOrEqual(before.maxTxid + 1);
          expect(file.maxTxid).toBeGreaterThan(before?.maxTxid ?? 0);
          expect(usable).toContain(file);
        });
      },
    ),
    { numRuns },
  );
});

test("every position that any order of files reaches can be asked for", () => {
  fc.assert(
    fc.property(files, (all) => {
      const snapshots = all.filter(({ minTxid }) => minTxid === 1).map(({ maxTxid }) => maxTxid);
      for (const position of reachable(all, snapshots)) {
        expect(planChain(all, { upTo: position }).position).toBe(position);
      }
    }),
    { numRuns },
  );
});

test("a tail goes on as far as any does", () => {
  fc.assert(
    fc.property(files, fc.integer({ min: 1, max: 40 }), (all, position) => {
      const tail = planTail(all, position);
      expect(tail.position).toBe(Math.max(...reachable(all, [position])));
    }),
    { numRuns },
  );
});

test("what is not a key of ours is none, and what is one is read back", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.stringMatching(/^(ltx\/)?[0-9a-f]{1,5}\/[0-9a-f]{16}-[0-9a-f]{16}.{0,5}$/),
      ),
      (key) => {
        const file = parseLtxKey(key);
        if (file !== undefined)
          expect([ltxKey(file, "plain"), ltxKey(file, "wide")]).toContain(key);
      },
    ),
    { numRuns },
  );
});
