import Database from "better-sqlite3";
import { afterEach, describe, expect, it } from "vitest";
import { tokenGate } from "../../src/http/index.ts";
import { attach, type Replica } from "../../src/index.ts";
import { memoryPair } from "../../src/transport/memory.ts";

const replicas: Replica[] = [];
afterEach(async () => {
  for (const replica of replicas.splice(0)) await replica.close();
});

function open() {
  const db = new Database(":memory:");
  db.exec("CREATE TABLE t (id INTEGER PRIMARY KEY)");
  const replica = attach(db, { tables: ["t"] });
  replicas.push(replica);
  return { db, replica };
}

describe("tokenGate", () => {
  it("lets requests without a token in, and answers reads of nothing with nothing", async () => {
    const { replica } = open();
    const gate = tokenGate(replica);
    for (const header of [undefined, null, "", " "]) {
      expect(await gate.enter(header)).toBeUndefined();
      expect(gate.leave(header)).toBe("");
    }
  });

  it("joins what was written here to what the request has seen", async () => {
    const { db, replica } = open();
    const gate = tokenGate(replica);
    db.exec("INSERT INTO t VALUES (1)");
    const own = replica.token();
    expect(gate.leave(undefined)).toBe(own);
    expect(gate.leave("77.3, 78.1,77.2")).toBe(`77.3, 78.1, ${own}`);
    db.exec("INSERT INTO t VALUES (2)");
    expect(gate.leave(own)).toBe(replica.token());
    expect(await gate.enter(gate.leave(own))).toBeUndefined();
  });

  it("keeps what was written here, however many peers the request has seen", () => {
    const { db, replica } = open();
    db.exec("INSERT INTO t VALUES (1)");
    const own = replica.token();
    const others = Array.from({ length: 64 }, (_, i) => `${i + 1}.1`).join("_");
    expect(tokenGate(replica).leave(`${own}, ${others}`).split(", ")).toContain(own);
  });

  it("waits for every write in the list, and not for ever", async () => {
    const [left, right] = [open(), open()];
    left.db.exec("INSERT INTO t VALUES (1)");
    const token = left.replica.token();
    const impatient = tokenGate(right.replica, { waitMs: 20, retryAfterS: 7 });
    expect(await impatient.enter(token)).toMatchObject({
      status: 503,
      headers: { "retry-after": "7" },
    });
    const entering = tokenGate(right.replica, { waitMs: 20_000 }).enter(token);
    const [one, other] = memoryPair();
    left.replica.connect(one);
    right.replica.connect(other);
    expect(await entering).toBeUndefined();
    expect(right.db.prepare("SELECT count(*) FROM t").pluck().get()).toBe(1);
    expect(await impatient.enter(`${token}, 77.1`)).toMatchObject({ status: 503 });
  });

  it("answers 400 to what is no list of tokens, and 503 when closed", async () => {
    const { replica } = open();
    const gate = tokenGate(replica);
    for (const header of ["yesterday", "1", "1.2,", "1.2;3.4", Array(65).fill("1.2").join(",")]) {
      expect(await gate.enter(header)).toMatchObject({ status: 400 });
    }
    await replica.close();
    expect(await gate.enter("1.2")).toMatchObject({ status: 503 });
  });
});
