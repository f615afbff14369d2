/**
 * The checks can fail: in quiet worlds something is broken behind a replica's back, or messages are
 * swallowed, and the right check has to say so.
 */
import { describe, expect, it } from "vitest";
import { fairWeather } from "./network.ts";
import { type Action, calmPeer, type PeerPlan, type Plan } from "./plan.ts";
import { simulate } from "./world.ts";

/** Three peers in a chain, each having written to the journal by the time events begin. */
function worldWith(
  events: readonly { tick: number; action: Action }[],
  changes: Partial<PeerPlan> = {},
): Plan {
  const write = (number: number) => ({ tick: number, action: entry(number) });
  return {
    seed: 1,
    ticks: 40,
    tickMs: 500,
    topology: "chain",
    kind: "stream",
    heartbeatMs: 1_000,
    driftMaxMs: 60_000,
    weather: fairWeather,
    chunkBytes: 1_000,
    peers: [calmPeer, calmPeer, calmPeer].map((one) => ({ ...one, ...changes })),
    events: [write(0), write(1), write(2), ...events],
  };
}

/** A transaction that enters the next number into the journal. */
function entry(number: number, erase?: number): Action {
  const write = { do: "write", peer: number, steps: [], end: "COMMIT", bytes: 0 } as const;
  return erase === undefined ? write : { ...write, erase };
}

const sabotage = (number: number, sql: string): Action => ({ do: "sabotage", peer: number, sql });
const late = (action: Action, tick = 10) => ({ tick, action });
const insertNote: Action = {
  do: "burst",
  peer: 0,
  count: 1,
  statement: { table: 0, kind: 1, key: 1, value: 2 },
};
const alone = (number: number, ticks: number): Action => ({
  do: "partition",
  peers: [number],
  way: "both",
  ticks,
  flaps: 0,
});

describe("the checks notice", () => {
  it("nothing where nothing is broken", async () => {
    const { violation } = await simulate(worldWith([late(insertNote)]));
    expect(violation).toBeUndefined();
  });

  it.each<[string, readonly { tick: number; action: Action }[], RegExp, Partial<PeerPlan>?]>([
    [
      "a row that is gone",
      [late(sabotage(2, "DELETE FROM journal WHERE id = 1"))],
      /lost: journal entry 1 is gone from peer 2/,
    ],
    [
      "a row that was never committed",
      [late(sabotage(1, "INSERT INTO journal VALUES (99, 0)"))],
      /peer 1 shows journal entry 99, which was never committed/,
    ],
    [
      "a deleted row that is back",
      [late(entry(0, 0), 5), late(sabotage(2, "INSERT INTO journal VALUES (1, 0)"))],
      /resurrected: journal entry 1 is back at peer 2/,
    ],
    [
      "a changeset that is in no log any more",
      [
        late(alone(0, 100), 5),
        late(insertNote, 6),
        late(sabotage(0, "DELETE FROM _mergelite_log WHERE id % 4 = 2; DELETE FROM note")),
      ],
      /^lost: peer \d holds \d+\.1 of 2/,
    ],
    [
      "a vector that claims too much",
      [late(sabotage(2, "UPDATE _mergelite_origins SET held = held + 5 WHERE ordinal = 2"))],
      /peer 2 holds \d+\.\d+ of \d/,
    ],
    [
      "a vector that claims what the log has not",
      [
        late(alone(2, 20), 5),
        late(entry(0), 6),
        late(sabotage(2, "UPDATE _mergelite_origins SET held = held + 1, merged = merged + 1")),
      ],
      /peer 2 has no \d+\.\d, and says it holds up to \d/,
    ],
    [
      "a sequence that was used twice",
      [
        late(alone(0, 20), 5),
        late(entry(0), 6),
        late(sabotage(0, "UPDATE _mergelite_log SET timestamp = timestamp + 1 WHERE id % 4 = 2")),
      ],
      /has another \d+\.2: used twice/,
    ],
    [
      "half of a transaction",
      [late({ ...insertNote, statement: { table: 1, kind: -1, key: 1, value: 1 } })],
      /shows half of accounts 1/,
    ],
    [
      "equal vectors with unequal rows",
      [late(insertNote, 5), late(sabotage(1, "UPDATE note SET a = 'other'"))],
      /hold the same and show/,
    ],
    [
      "unequal row clocks",
      [
        late(insertNote, 5),
        late(
          sabotage(
            1,
            "INSERT OR REPLACE INTO _mergelite_clock_note VALUES (1, x'030100000000000101')",
          ),
        ),
      ],
      /row clocks of note/,
    ],
    [
      "a log that was trimmed too early",
      [
        late(alone(2, 20), 5),
        late(entry(0), 6),
        late(
          sabotage(
            1,
            "DELETE FROM _mergelite_log WHERE id >> 40 = 2; UPDATE _mergelite_origins SET trimmed = held WHERE ordinal = 2",
          ),
        ),
      ],
      /peer 1 trimmed \d+\.\d too early \(held\), which 2 lacks/,
      { trim: "held" },
    ],
    [
      "an own changeset that was trimmed before anyone had it",
      [
        late(alone(0, 20), 5),
        late(entry(0), 6),
        late(entry(0), 7),
        late(
          sabotage(
            0,
            "DELETE FROM _mergelite_log WHERE id % 4 = 2; UPDATE _mergelite_origins SET trimmed = 2 WHERE ordinal = 1",
          ),
        ),
      ],
      /trimmed its own 2, and others hold 1/,
      { trim: "age", retentionMs: 1_000 },
    ],
    [
      "a peer that is thought to hold what it does not",
      [
        late(alone(2, 20), 5),
        late(
          sabotage(
            1,
            "UPDATE _mergelite_peers SET vector = (SELECT substr(vector, 1, length(vector) - 1) || x'50' FROM _mergelite_peers)",
          ),
        ),
      ],
      /peer 1 thinks that \d holds/,
    ],
    [
      "changesets that never arrive",
      [late({ do: "mute", peer: 1, kind: 3 }, 5), late(entry(0), 6)],
      /not converged in time/,
    ],
  ])("%s", { timeout: 60_000 }, async (_what, events, expected, changes) => {
    const { violation } = await simulate(worldWith(events, changes));
    expect(violation).toMatch(expected);
  });
});
