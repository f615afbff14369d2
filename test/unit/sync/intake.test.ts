import { describe, expect, it } from "vitest";
import {
  announce,
  closeSource,
  createIntake,
  type Intake,
  noteGap,
  openSource,
  plan,
  planDueMs,
  raiseInflow,
  type Source,
  takeRun,
} from "../../../src/sync/intake.ts";

interface Origin {
  remote: number;
  pruned: boolean;
}

/** An intake with links that hold `sequence` of each origin. */
function intakeWith(links: number, held: Record<number, number> = {}) {
  const intake = createIntake();
  const sources = Array.from({ length: links }, (_, index) => {
    const origins = new Map<number, Origin>();
    const source = { id: index + 1, origins, activeMs: 0 };
    openSource(intake, source, 0);
    return source;
  });
  const tell = (source: (typeof sources)[number], origin: number, sequence: number, nowMs = 0) => {
    const pruned = source.origins.get(origin)?.pruned ?? false;
    source.origins.set(origin, { remote: sequence, pruned });
    announce(intake, source, { origin, sequence }, nowMs);
  };
  for (const source of sources) {
    for (const [origin, sequence] of Object.entries(held)) tell(source, Number(origin), sequence);
  }
  return { intake, sources, tell };
}

/** When it asks and whom, up to `untilMs`. */
function askedBy(intake: Intake, untilMs: number, fromMs = 0): { atMs: number; id: number }[] {
  const asked: { atMs: number; id: number }[] = [];
  for (let nowMs = fromMs; nowMs <= untilMs; nowMs += 10) {
    if (planDueMs(intake) > nowMs) continue;
    for (const { id } of plan(intake, nowMs)) asked.push({ atMs: nowMs, id });
  }
  return asked;
}

function prune(source: { origins: Map<number, Origin> }, origin: number): void {
  source.origins.set(origin, { remote: source.origins.get(origin)?.remote ?? 0, pruned: true });
}

describe("a plan", () => {
  it("leaves whoever has announced something the time to send it", () => {
    const { intake } = intakeWith(1, { 7: 5 });
    expect(plan(intake, 490)).toEqual([]);
    expect(plan(intake, 510)).toEqual([{ id: 1, ranges: [{ origin: 7, first: 1, last: 5 }] }]);
  });

  it("asks one link for one gap, and another the next time, at growing intervals", () => {
    const { intake } = intakeWith(3, { 7: 5 });
    const asked = askedBy(intake, 40_000);
    expect(asked.length).toBeGreaterThan(4);
    for (const [index, { id }] of asked.entries()) expect(id).not.toBe(asked[index - 1]?.id);
    const waits = asked.map(({ atMs }, index) => atMs - (asked[index - 1]?.atMs ?? 0));
    expect(waits).toEqual([...waits].sort((a, b) => a - b));
    expect(new Set(asked.map(({ atMs }) => atMs)).size).toBe(asked.length);
  });

  it("never waits longer than retryMaxMs", () => {
    const { intake } = intakeWith(2, { 7: 5 });
    const asked = askedBy(intake, 300_000).slice(-3);
    expect((asked[2]?.atMs ?? 0) - (asked[1]?.atMs ?? 0)).toBeLessThanOrEqual(30_020);
  });

  it("spreads origins over the links", () => {
    const origins = Object.fromEntries(Array.from({ length: 90 }, (_, i) => [i + 1, 5]));
    const { intake } = intakeWith(3, origins);
    const counts = plan(intake, 600).map(({ ranges }) => ranges.length);
    expect(counts).toEqual([30, 30, 30]);
  });

  it("puts at most 256 ranges into one request, and the rest into the next", () => {
    const origins = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [i + 1, 5]));
    const { intake } = intakeWith(1, origins);
    expect(plan(intake, 600)[0]?.ranges).toHaveLength(256);
    expect(plan(intake, 620)[0]?.ranges).toHaveLength(44);
  });

  it("only asks those that hold what is missing", () => {
    const { intake, sources, tell } = intakeWith(3);
    const [, holder] = sources;
    if (holder !== undefined) tell(holder, 7, 5);
    expect(new Set(askedBy(intake, 20_000).map(({ id }) => id))).toEqual(new Set([2]));
  });

  it("asks for nothing that is held, or on its way into the merge", () => {
    const { intake, sources } = intakeWith(1, { 7: 5, 8: 5 });
    raiseInflow(intake, { origin: 7, sequence: 5 }, 0);
    takeRun(intake, sources[0] as Source, { origin: 8, first: 1, last: 5 }, 0);
    expect(askedBy(intake, 100_000)).toEqual([]);
    // Five minutes later the host must have lost it.
    expect(askedBy(intake, 400_000, 100_000).length).toBeGreaterThan(0);
  });
});

describe("a link at work", () => {
  it("is not disturbed, unless it is slow and another one has it all", () => {
    const { intake, sources } = intakeWith(2, { 7: 5, 8: 1_000 });
    const [busy, other] = sources as [Source, (typeof sources)[number]];
    prune(other, 7);
    const asked: number[] = [];
    for (let nowMs = 0; nowMs <= 3_000; nowMs += 100) {
      takeRun(intake, busy, { origin: 8, first: 1 + nowMs / 100, last: 1 + nowMs / 100 }, nowMs);
      for (const { id, ranges } of plan(intake, nowMs)) {
        if (ranges.some(({ origin }) => origin === 7)) asked.push(nowMs, id);
      }
    }
    expect(asked[0]).toBeGreaterThanOrEqual(2_000);
    expect(asked[1]).toBe(2);
  });

  it("is pruned when another one brings the same", () => {
    const { intake, sources } = intakeWith(2, { 7: 5 });
    const [first, second] = sources as unknown as [Source, Source];
    const run = { origin: 7, first: 1, last: 3 };
    expect(takeRun(intake, first, run, 0)).toEqual({ duplicates: 0, redundant: false });
    expect(takeRun(intake, second, run, 1)).toEqual({ duplicates: 3, redundant: true });
    expect(takeRun(intake, first, run, 2)).toEqual({ duplicates: 3, redundant: false });
  });

  it("is replaced at once when it ends", () => {
    const { intake, sources } = intakeWith(2, { 7: 50 });
    const [first, second] = sources as [Source, (typeof sources)[number]];
    takeRun(intake, first, { origin: 7, first: 1, last: 30 }, 100);
    prune(second, 7);
    closeSource(intake, first, 200);
    expect(planDueMs(intake)).toBe(200);
    expect(plan(intake, 200)).toEqual([{ id: 2, ranges: [{ origin: 7, first: 1, last: 50 }] }]);
  });
});

describe("a gap", () => {
  it("is asked for at once, and once", () => {
    const { intake, sources } = intakeWith(1, { 7: 9 });
    const [source] = sources as unknown as [Source];
    for (const nowMs of [100, 110, 120]) {
      noteGap(intake, source, { origin: 7, first: 4 }, nowMs);
      const expected = nowMs === 100 ? [{ id: 1, ranges: [{ origin: 7, first: 1, last: 9 }] }] : [];
      expect(plan(intake, nowMs)).toHaveLength(expected.length);
    }
  });

  it("is left alone while another link's changesets wait to be merged", () => {
    const { intake, sources } = intakeWith(2, { 7: 9 });
    const [first, second] = sources as [Source, (typeof sources)[number]];
    takeRun(intake, first, { origin: 7, first: 1, last: 5 }, 100);
    takeRun(intake, second, { origin: 7, first: 6, last: 9 }, 101);
    noteGap(intake, second, { origin: 7, first: 1 }, 102);
    expect(plan(intake, 110)).toEqual([]);
    raiseInflow(intake, { origin: 7, sequence: 5 }, 200);
    expect(askedBy(intake, 1_000, 200)).toHaveLength(1);
  });
});
