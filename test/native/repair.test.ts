/** Repair: rows that differ although both sides merged the same are mended, on every peer. */
import { describe, expect, it } from "vitest";
import { native } from "../../src/native.ts";
import { lose, untracked } from "../support/damage.ts";
import { closedAfterEach } from "../support/databases.ts";
import { encode, forge, forgePayload } from "../support/forge.ts";
import {
  converge,
  dump,
  heldOf,
  mergeAll,
  openRaw,
  patiently,
  pull,
  type RawReplica,
} from "../support/replica.ts";
import { transferState, trimAll } from "../support/state.ts";
import { verifyPair } from "../support/verify.ts";

const open = closedAfterEach();

const notes = "CREATE TABLE note (id INTEGER PRIMARY KEY, a, b)";

function replica(schema = notes): RawReplica {
  const made = openRaw(":memory:", schema, ["note"]);
  open.push(made.db);
  return made;
}

/** Three that hold the same, of which the third only merges. */
function three(schema = notes, fill = ""): [RawReplica, RawReplica, RawReplica] {
  const [here, there, third] = [replica(schema), replica(schema), replica(schema)];
  here.db.exec(fill === "" ? "INSERT INTO note VALUES (1, 'one', 1), (2, 'two', 2)" : fill);
  converge([here, there, third]);
  for (const one of [here, there, third]) fold(one);
  return [here, there, third];
}

/** What is done to clock tables counts only when memory holds none. */
function fold({ handle }: RawReplica): void {
  const none = new Uint8Array(0);
  while (native.ranges(handle, "note", none, none, 1, patiently).more);
}

const rowsOf = ({ db }: RawReplica) => dump(db, "note");

/** Repairs two, lets the third merge what became new writes, and looks at all of them. */
async function mend(
  [here, there, third]: readonly [RawReplica, RawReplica, RawReplica],
  winner: "here" | "there" = "here",
) {
  const result = await verifyPair(here, there, ["note"], { deep: true, repair: winner });
  converge([here, there, third]);
  expect(rowsOf(there)).toEqual(rowsOf(here));
  expect(rowsOf(third)).toEqual(rowsOf(here));
  for (const [one, other] of [
    [here, there],
    [there, third],
    [third, here],
  ] as const) {
    const after = await verifyPair(one, other, ["note"], { deep: true });
    expect(after).toMatchObject({ differences: 0 });
  }
  const { differences, repair } = result;
  return { differences, ...repair };
}

describe("repair", () => {
  it("changes nothing where nothing differs", async () => {
    const peers = three();
    const nothing = { differences: 0, sent: 0, taken: 0, rewritten: 0, left: 0 };
    expect(await mend(peers)).toEqual(nothing);
    expect(await mend(peers, "there")).toEqual(nothing);
  });

  for (const winner of ["here", "there"] as const) {
    it(`brings back a row that was lost with its clock, ${winner} winning`, async () => {
      const [here, there, third] = three();
      lose(there.db, "note", "id = 1");
      lose(here.db, "note", "id = 2");
      const counts = await mend([here, there, third], winner);
      expect(counts).toEqual({ differences: 2, sent: 1, taken: 1, rewritten: 0, left: 0 });
      expect(rowsOf(here)).toHaveLength(2);
    });

    it(`brings back a row whose clock is still there, ${winner} winning`, async () => {
      const peers = three();
      untracked(peers[1].db, "DELETE FROM note WHERE id = 1");
      untracked(peers[0].db, "DELETE FROM note WHERE id = 2");
      const counts = await mend(peers, winner);
      expect(counts).toEqual({ differences: 2, sent: 1, taken: 1, rewritten: 0, left: 0 });
    });

    it(`takes the newer of two stamps, ${winner} winning`, async () => {
      const [here, there, third] = three();
      // The changeset of the update was merged there, and then the row as it was before was put
      // back with its clock.
      const clock = there.db.prepare("SELECT _mergelite_clock FROM _mergelite_clock_note").pluck();
      const [old] = clock.all();
      here.db.exec("UPDATE note SET a = 'newer' WHERE id = 1; DELETE FROM note WHERE id = 2");
      converge([here, there, third]);
      fold(there);
      untracked(there.db, "UPDATE note SET a = 'one'; INSERT INTO note VALUES (2, 'two', 2)");
      there.db.prepare("UPDATE _mergelite_clock_note SET _mergelite_clock = ?").run(old);
      const counts = await mend([here, there, third], winner);
      expect(counts).toEqual({ differences: 2, sent: 2, taken: 0, rewritten: 0, left: 0 });
      expect(rowsOf(there)).toEqual(["integer 1 | text 'newer' 6E65776572 | integer 1"]);
    });
  }

  it("takes values that no stamp tells apart from one side, and writes them anew", async () => {
    const peers = three();
    untracked(peers[1].db, "UPDATE note SET a = 'rot', b = 1 WHERE id = 1");
    // The new stamp comes back.
    const counts = { differences: 1, sent: 1, taken: 1, rewritten: 1, left: 0 };
    expect(await mend(peers)).toEqual(counts);
    expect(rowsOf(peers[1])[0]).toContain("'one'");
    untracked(peers[1].db, "UPDATE note SET a = 'hand' WHERE id = 2");
    expect(await mend(peers, "there")).toMatchObject({ taken: 1, rewritten: 1, left: 0 });
    expect(rowsOf(peers[2])[1]).toContain("'hand'");
    // Only the column that differed was written.
    const patches = "SELECT _columns FROM note_patches WHERE _op = 'update'";
    expect(peers[2].db.prepare(patches).pluck().all()).toEqual(['["a"]', '["a"]']);
  });

  it("keeps what the third peer wrote at the same time to another column", async () => {
    const peers = three();
    untracked(peers[1].db, "UPDATE note SET a = 'rot' WHERE id = 1");
    peers[2].db.exec("UPDATE note SET b = 'third' WHERE id = 1");
    await mend(peers);
    expect(rowsOf(peers[0])[0]).toMatch(/'one'.*'third'/);
  });

  for (const winner of ["here", "there"] as const) {
    it(`records rows that nobody captured, ${winner} winning`, async () => {
      const [here, there, third] = three();
      here.db.exec("DELETE FROM note WHERE id = 2");
      converge([here, there, third]);
      untracked(here.db, "INSERT INTO note VALUES (10, 'new here', 1)");
      // This one was deleted once: its tombstone does not take it away.
      untracked(there.db, "INSERT INTO note VALUES (11, 'new there', 1), (2, 'again', 2)");
      const counts = await mend([here, there, third], winner);
      expect(counts).toMatchObject({ differences: 3, rewritten: 3 });
      expect(rowsOf(third)).toHaveLength(4);
    });
  }

  it("repairs keys of every kind", async () => {
    const keys = [
      "1, 'a'",
      "2.5, 'a'",
      "'text', 'it''s'",
      "x'00ff', ''",
      "-9223372036854775808, 'ö'",
    ];
    const fill = keys.map((key) => `INSERT INTO note VALUES (${key}, 'v')`).join(";");
    const schema = "CREATE TABLE note (k, n TEXT, a, PRIMARY KEY (k, n)) WITHOUT ROWID";
    const peers = three(schema, fill);
    untracked(peers[0].db, "UPDATE note SET a = 'rot' WHERE typeof(k) IN ('integer', 'real')");
    lose(peers[0].db, "note", "typeof(k) IN ('text', 'blob')");
    const counts = await mend(peers, "there");
    expect(counts).toEqual({ differences: 5, sent: 3, taken: 5, rewritten: 3, left: 0 });
    expect(rowsOf(peers[0])).toHaveLength(5);
  });

  it("repairs many rows over many ranges", async () => {
    const fill =
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) " +
      "INSERT INTO note SELECT i, 'text ' || i, i FROM n";
    const peers = three(notes, fill);
    lose(peers[0].db, "note", "id % 50 = 0");
    lose(peers[1].db, "note", "id % 70 = 1");
    untracked(peers[1].db, "UPDATE note SET b = -1 WHERE id % 90 = 2");
    const counts = await mend(peers);
    // 400 and 286 rows were lost, 223 are written anew and come back with their new stamps.
    expect(counts).toMatchObject({
      differences: 909,
      taken: 623,
      sent: 509,
      rewritten: 223,
      left: 0,
    });
  });

  it("shows a withheld row once what stood against it is mended", async () => {
    const unique = "CREATE TABLE note (id INTEGER PRIMARY KEY, a UNIQUE, b)";
    const [here, there, third] = [replica(unique), replica(unique), replica(unique)];
    here.db.exec("INSERT INTO note VALUES (1, 'x', 1)");
    there.db.exec("INSERT INTO note VALUES (2, 'x', 2)");
    converge([here, there, third]);
    expect(rowsOf(here)).toHaveLength(1);
    lose(there.db, "note", "id = 1");
    await mend([here, there, third]);
    expect(rowsOf(there)).toHaveLength(1);
    here.db.exec("DELETE FROM note WHERE id = 1");
    converge([here, there, third]);
    expect(rowsOf(third)[0]).toContain("integer 2");
  });

  it("takes nothing from a peer that lacks what is trimmed here", async () => {
    const [here, there] = [replica(), replica()];
    here.db.exec("INSERT INTO note VALUES (1, 'one', 1), (2, 'two', 2)");
    pull(here, there);
    here.db.exec("DELETE FROM note; INSERT INTO note VALUES (3, 'three', 3)");
    trimAll(here);
    // One tombstone is gone, as it may be once everybody known has passed it.
    fold(here);
    here.db.exec("DELETE FROM _mergelite_clock_note WHERE id = 1");
    const { repair } = await verifyPair(there, here, ["note"], { deep: true, repair: "here" });
    expect(repair).toEqual({ sent: 0, taken: 2, rewritten: 0, left: 1 });
    expect(rowsOf(here)).toHaveLength(1);
    expect(rowsOf(there)).toHaveLength(2);
  });

  it("can be cut anywhere and done again", async () => {
    const [here, there, third] = three();
    lose(there.db, "note", "id = 1");
    untracked(here.db, "UPDATE note SET a = 'rot' WHERE id = 2");
    const key = Uint8Array.from([...encode(2)]);
    const packed = Uint8Array.from([key.length, ...key]);
    const { chunk } = native.readRows(there.handle, "note", packed, 1e6, patiently);
    // Their value was taken here and written anew; nothing was sent back.
    const taken = native.repairRows(here.handle, "note", packed, chunk, patiently);
    expect(taken).toMatchObject({ taken: 1, rewritten: 1 });
    const again = native.repairRows(here.handle, "note", packed, chunk, patiently);
    expect(again).toMatchObject({ taken: 0, rewritten: 0 });
    expect((await mend([here, there, third])).left).toBe(0);
  });

  it("refuses bytes that make no sense, and changes nothing", () => {
    const [here, there] = three();
    const key = Uint8Array.from(encode(2));
    const packed = Uint8Array.from([key.length, ...key]);
    const { chunk } = native.readRows(there.handle, "note", packed, 1e6, patiently);
    const before = rowsOf(here);
    for (let at = 0; at < chunk.length; at++) {
      const damaged = chunk.slice();
      damaged[at] = (damaged[at] ?? 0) ^ 0x40;
      const take = () => native.repairRows(here.handle, "note", packed, damaged, patiently);
      expect(take).toThrow(expect.objectContaining({ code: "PAYLOAD_CORRUPT" }));
    }
    for (const bad of [[9], [1, 255], [2, 0, 0], [200, 1, 1]]) {
      const read = () => native.readRows(here.handle, "note", Uint8Array.from(bad), 1e6, patiently);
      expect(read).toThrow(expect.objectContaining({ code: "KEY_MALFORMED" }));
    }
    expect(rowsOf(here)).toEqual(before);
  });
});

describe("a refused changeset", () => {
  it("makes neither state nor digests lie", async () => {
    const [here, there, third] = [replica(), replica(), replica()];
    here.db.exec("INSERT INTO note VALUES (1, 'one', 1)");
    pull(here, there);
    // Its patches make no sense, although the checksum is right.
    const payload = forgePayload([3], { patchCount: 1 });
    const timestamp = 2 ** 40;
    const bad = forge({ origin: 77, sequence: 1, timestamp, payload });
    for (const one of [here, there]) {
      expect(mergeAll(one, bad).refused).toHaveLength(1);
    }
    expect(await verifyPair(here, there, ["note"], { deep: true })).toMatchObject({
      differences: 0,
    });
    trimAll(here);
    transferState(here, third);
    expect(heldOf(third, 77)).toBe(1);
    expect(rowsOf(third)).toEqual(rowsOf(here));
    expect(await verifyPair(third, there, ["note"], { deep: true })).toMatchObject({
      differences: 0,
    });
  });
});
