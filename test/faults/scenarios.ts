/** What is done while SQLite fails. Each is done again afterwards, so each can be. */
import type Database from "better-sqlite3";
import { native } from "../../src/native.ts";
import { forge, forgePayload } from "../support/forge.ts";
import {
  handleOf,
  heldOf,
  maintainAll,
  patiently,
  pull,
  type RawReplica,
  recordsOf,
} from "../support/replica.ts";
import { transferState, trimAll } from "../support/state.ts";
import { attachSubject, nowMs } from "./stage.ts";

export interface Subject {
  db: Database.Database;
  /** Undefined where attaching is what is tried. */
  replica: RawReplica | undefined;
  remote: RawReplica;
}

export interface Scenario {
  name: string;
  journal?: "DELETE";
  /** The extension is not loaded yet, or the file has been detached afterwards. */
  attached?: false;
  detaches?: true;
  /** Half of it done, the tables hold more than the log. */
  partial?: true;
  remotely?: string | ((remote: RawReplica) => void);
  prepare?: (subject: RawReplica, remote: RawReplica) => void;
  act: (subject: Subject) => void;
}

/** SQL that the user runs. An explicit transaction is rolled back by whoever began it. */
function execute(db: Database.Database, text: string): void {
  try {
    db.exec(text);
  } finally {
    if (db.inTransaction) db.exec("ROLLBACK");
  }
}
function sql(name: string, text: string, more: Partial<Scenario> = {}): Scenario {
  return { name, act: ({ db }) => execute(db, text), ...more };
}

function handle({ replica }: Subject): number {
  if (replica === undefined) throw new Error("the subject is not attached");
  return replica.handle;
}

/** Merging as the scheduler does it: what is busy or has more to do comes again. */
function mergeRemote(subject: Subject): void {
  const { replica, remote } = subject;
  if (replica === undefined) throw new Error("the subject is not attached");
  native.learnShapes(replica.handle, native.shapes(remote.handle, 0).descriptors);
  const records = recordsOf(remote, remote.peerId, heldOf(replica, remote.peerId));
  let offset = 0;
  for (let calls = 0; calls < 20 && offset < records.length; calls++) {
    offset = native.merge(replica.handle, records, offset, patiently).consumed;
  }
  maintainSome(replica);
}
function maintainSome(replica: RawReplica): void {
  for (let calls = 0; calls < 20; calls++) {
    const result = native.maintain(replica.handle, patiently);
    if (!result.more && !result.busy) return;
  }
}
function merge(
  name: string,
  remotely: Scenario["remotely"],
  more: Partial<Scenario> = {},
): Scenario {
  return { name, remotely: remotely ?? "", act: mergeRemote, ...more };
}

const spill = `
  BEGIN;
  INSERT OR REPLACE INTO item (id, b) VALUES (20, zeroblob(700000));
  SAVEPOINT s;
  INSERT OR REPLACE INTO item (id, b) VALUES (21, randomblob(700000));
  UPDATE item SET a = 'in part two' WHERE id = 1;
  ROLLBACK TO s;
  INSERT OR REPLACE INTO item (id, b) VALUES (22, randomblob(700000));
  RELEASE s;
  COMMIT`;
const savepoints = `
  BEGIN; UPDATE item SET a = 'kept' WHERE id = 1; SAVEPOINT one; DELETE FROM item WHERE id = 2;
  SAVEPOINT two; INSERT OR REPLACE INTO word VALUES ('five', 5); ROLLBACK TO one;
  UPDATE item SET id = 50, b = zeroblob(9) WHERE id = 3; RELEASE one;
  UPDATE item SET id = 3 WHERE id = 50; COMMIT`;
const withheld = `
  INSERT OR REPLACE INTO uni VALUES (7, 'w', 1); UPDATE uni SET name = 'q' WHERE id = 1;
  INSERT OR REPLACE INTO uni VALUES (8, 'late', 2); UPDATE uni SET n = 9 WHERE id = 8;
  INSERT OR REPLACE INTO uni VALUES (9, 'x', 3); DELETE FROM uni WHERE id = 8`;

const writes: Scenario[] = [
  sql(
    "insert",
    "INSERT OR REPLACE INTO item VALUES (9, 'nine', zeroblob(30), 9.5), (10, '', x'', NULL)",
  ),
  sql("insert, rollback journal", "INSERT OR REPLACE INTO item (id, a) VALUES (9, 'nine')", {
    journal: "DELETE",
  }),
  sql("update", "UPDATE item SET a = 'new', c = c + 1 WHERE id < 3; UPDATE word SET v = v || 'w'"),
  sql("delete", "DELETE FROM item WHERE id = 3; DELETE FROM word WHERE k = 'one'"),
  sql("savepoints", savepoints),
  sql("large transaction", spill),
  sql(
    "replace",
    "INSERT OR REPLACE INTO uni VALUES (5, 'x', 5); UPDATE OR REPLACE uni SET name = 'y' WHERE id = 3",
  ),
  sql(
    "user's trigger",
    "UPDATE touched SET a = a || '!'; INSERT OR REPLACE INTO touched VALUES (3, 'r', 1)",
  ),
  sql("cascade", "DELETE FROM item WHERE id = 1; INSERT OR IGNORE INTO item (id) VALUES (1)"),
  {
    name: "first write of a connection",
    attached: false,
    act({ db }) {
      native.setClock(handleOf(db), nowMs);
      db.exec("INSERT OR REPLACE INTO item VALUES (9, 'nine', NULL, 0)");
    },
  },
];

const merges: Scenario[] = [
  merge(
    "merge inserts",
    "INSERT INTO item VALUES (11, 'r', x'0102', 1), (12, NULL, zeroblob(9), 2); INSERT INTO word VALUES ('six', 6)",
  ),
  merge(
    "merge changes",
    "UPDATE item SET a = 'r' WHERE id < 3; DELETE FROM item WHERE id = 3; UPDATE word SET k = 'uno' WHERE k = 'one'",
  ),
  merge("merge with rollback journal", "UPDATE item SET a = 'r' WHERE id = 1", {
    journal: "DELETE",
  }),
  merge(
    "merge against own writes",
    "UPDATE item SET a = 'r'; DELETE FROM item WHERE id = 1; INSERT INTO item (id) VALUES (1)",
    {
      prepare: ({ db }) => db.exec("UPDATE item SET c = 7; DELETE FROM item WHERE id = 2"),
    },
  ),
  merge("merge unique", withheld, {
    prepare: ({ db }) =>
      db.exec("INSERT INTO uni VALUES (6, 'w', 1); UPDATE uni SET name = 'late' WHERE id = 2"),
  }),
  merge("merge check violation", "UPDATE uni SET n = n - 3 WHERE id = 3", {
    prepare: ({ db }) => db.exec("UPDATE uni SET name = 'low' WHERE id = 3"),
    remotely: ({ db }) => {
      db.pragma("ignore_check_constraints = ON");
      db.exec("UPDATE uni SET n = n - 9 WHERE id = 3");
    },
  }),
  merge("merge what was parked", ({ db }) =>
    db.exec(
      "INSERT INTO item (id) VALUES (30); UPDATE item SET a = 'up', c = 3 WHERE id = 30; DELETE FROM item WHERE id = 30; INSERT INTO item (id, a) VALUES (30, 'again')",
    ),
  ),
  merge(
    "merge survivors",
    ({ db, handle: clock }) => {
      db.exec("DELETE FROM item WHERE id = 2");
      native.setClock(clock, Date.UTC(2026, 0, 1) + 12_000);
      db.exec("INSERT INTO item (id, a) VALUES (2, 'back')");
    },
    {
      prepare: (subject) => {
        native.setClock(subject.handle, Date.UTC(2026, 0, 1) + 11_000);
        subject.db.exec("UPDATE item SET c = 77, b = x'77' WHERE id = 2");
      },
    },
  ),
  merge("merge parts", spill),
  merge("merge refused", "INSERT INTO item (id) VALUES (31)", {
    act(subject) {
      const { remote } = subject;
      mergeRemote(subject);
      const foreign = forge({
        origin: 77,
        sequence: 1,
        timestamp: 8192 * 1000,
        payload: strange(remote),
      });
      native.merge(handle(subject), foreign, 0, patiently);
    },
  }),
  merge("merge ahead of its time", "UPDATE item SET a = 'soon'", {
    remotely(remote) {
      native.setClock(remote.handle, Date.UTC(2026, 0, 1) + 200_000);
      remote.db.exec("UPDATE item SET a = 'soon'");
    },
    act(subject) {
      mergeRemote(subject);
      native.setClock(handle(subject), Date.UTC(2026, 0, 1) + 180_000);
      if (subject.replica !== undefined) maintainSome(subject.replica);
    },
  }),
  merge(
    "merge tables of later",
    ({ handle: clock, db }) => {
      native.replicate(clock, "later");
      db.exec(
        "INSERT OR REPLACE INTO later VALUES (4, 'four'); UPDATE later SET v = 'x' WHERE id = 1",
      );
    },
    {
      act(subject) {
        mergeRemote(subject);
        native.replicate(handle(subject), "later");
        if (subject.replica !== undefined) maintainSome(subject.replica);
      },
    },
  ),
];

/** A payload whose patches have an operation that there is none of. */
function strange(remote: RawReplica): Uint8Array {
  const [descriptor = new Uint8Array()] = native.shapes(remote.handle, 0).descriptors;
  return forgePayload([0, 2, 5, 0, 0], { shapes: [native.shapeHash(descriptor)] });
}

const changes =
  "UPDATE item SET c = 5; DELETE FROM item WHERE id = 2; INSERT INTO word VALUES ('n', 1)";
const refold =
  "DROP TABLE IF EXISTS spare_patches; CREATE VIRTUAL TABLE spare_patches USING mergelite(spare)";
const schemaChanges: Scenario[] = [
  sql("fold", refold, {
    remotely: changes,
    prepare: (subject, remote) => {
      pull(remote, subject);
      subject.db.exec("UPDATE item SET a = 'mine'; UPDATE word SET v = 8");
    },
  }),
  sql(
    "fold in a transaction",
    `BEGIN; UPDATE item SET a = 'f'; ${refold}; UPDATE item SET c = 1; COMMIT`,
  ),
  {
    name: "maintain",
    act: ({ replica }) => replica && maintainSome(replica),
    prepare: ({ db }) => db.exec(changes),
  },
  { name: "replicate", act: (subject) => native.replicate(handle(subject), "later") },
  {
    name: "replicate several",
    prepare: ({ db }) =>
      db.exec("CREATE TABLE latest (id INTEGER PRIMARY KEY, a); INSERT INTO latest VALUES (1, 2)"),
    act: (subject) => native.replicateAll(handle(subject), ["later", "latest"]),
  },
  sql(
    "replicate by SQL",
    "CREATE VIRTUAL TABLE IF NOT EXISTS later_patches USING mergelite(later)",
  ),
  {
    name: "add a column",
    act(subject) {
      const { db } = subject;
      const has = db.prepare("SELECT 1 FROM pragma_table_info('item') WHERE name = 'd'").get();
      if (has === undefined) db.exec("ALTER TABLE item ADD COLUMN d DEFAULT 'dd'");
      maintainAll(subject.replica as RawReplica);
      db.exec(
        "UPDATE item SET d = 1 WHERE id = 1; INSERT OR REPLACE INTO item (id, d) VALUES (40, 4)",
      );
    },
  },
  {
    name: "make a table anew",
    act({ db, replica }) {
      execute(
        db,
        "BEGIN; DROP TABLE word; CREATE TABLE word (k TEXT COLLATE NOCASE PRIMARY KEY, v) WITHOUT ROWID; INSERT INTO word VALUES ('One', 11); COMMIT",
      );
      if (replica !== undefined) maintainSome(replica);
    },
  },
  {
    name: "trim the log",
    remotely: changes,
    prepare: (subject, remote) => {
      pull(remote, subject);
      subject.db.exec("UPDATE item SET a = 'mine'; UPDATE word SET v = 8");
    },
    act: (subject) => trimAll({ ...subject.remote, handle: handle(subject) }),
  },
  {
    name: "take state over",
    remotely: (remote) => {
      remote.db.exec(changes);
      trimAll(remote);
    },
    prepare: ({ db }) => db.exec("UPDATE item SET a = 'mine'; DELETE FROM item WHERE id = 2"),
    partial: true,
    act: ({ remote, replica }) => replica && transferState(remote, replica, { bytesMax: 300 }),
  },
  {
    name: "give state",
    prepare: ({ db }) => db.exec(changes),
    act: (subject) => native.readState(handle(subject), new Uint8Array(), 1 << 19, patiently),
  },
  { name: "detach", detaches: true, act: (subject) => native.detach(handle(subject)) },
];

const lives: Scenario[] = [
  { name: "load and open", attached: false, act: ({ db }) => void attachSubject(db) },
  {
    name: "open a new file",
    attached: false,
    prepare: (subject) => native.detach(subject.handle),
    act({ db }) {
      const replica = attachSubject(db);
      for (const table of ["item", "word"]) native.replicate(replica.handle, table);
    },
  },
  {
    name: "open a copied file",
    attached: false,
    prepare: (subject) => {
      native.open(subject.handle, "another file", "a boot", () => {});
      subject.db.exec("UPDATE item SET a = 'under the old id'");
    },
    act({ db }) {
      const opened = handleOf(db);
      native.setClock(opened, nowMs);
      native.open(opened, "this file", "a boot", () => {});
      db.exec("UPDATE item SET c = 20 WHERE id = 1");
    },
  },
  {
    name: "renew the identity",
    act(subject) {
      native.renewIdentity(handle(subject));
      subject.db.exec("UPDATE item SET c = 20 WHERE id = 1");
    },
  },
  {
    name: "learn shapes",
    act: (subject) =>
      native.learnShapes(handle(subject), native.shapes(subject.remote.handle, 0).descriptors),
    remotely: ({ handle: clock }) => native.replicate(clock, "later"),
  },
  { name: "close", act: (subject) => native.close(handle(subject)) },
  {
    name: "read",
    prepare: ({ db }) => db.exec(changes),
    act(subject) {
      const { db, replica } = subject;
      const on = handle(subject);
      native.vector(on);
      native.readLog(on, replica?.peerId ?? 0, 1, 99, 2 ** 20);
      native.status(on);
      native.counters(on);
      native.tables(on);
      native.shapes(on, 0, 1);
      const open = new Uint8Array();
      while (native.ranges(on, "item", open, open, 16, patiently).more);
      native.rangeRows(on, "item", open, open, 0, 100, patiently);
      native.doubtRanges(on, "item");
      db.prepare("SELECT *, _op, _columns FROM item_patches WHERE _sequenceId > 0").all();
      db.prepare("SELECT mergelite_id(), mergelite_merging()").all();
    },
  },
];

export const scenarios: readonly Scenario[] = [...writes, ...merges, ...schemaChanges, ...lives];
