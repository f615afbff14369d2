// Two peers through one SQLite driver, in whatever runtime runs this: `driver-peers.mjs DRIVER FOLDER`.
// Plain JavaScript on what is built, so that Node 20 and Bun run the same.
import assert from "node:assert/strict";
import { join } from "node:path";
import { attach } from "../../dist/index.js";
import { memoryPair } from "../../dist/transport/memory.js";

const [driver = "", folder = ""] = process.argv.slice(2);

async function open(name) {
  const file = join(folder, name);
  if (driver !== "node:sqlite") return new (await import(driver)).default(file);
  const { DatabaseSync } = await import("node:sqlite");
  const refused = { code: "EXTENSION_REFUSED", hint: /allowExtension: true/ };
  assert.throws(() => attach(new DatabaseSync(":memory:")), refused);
  return new DatabaseSync(file, { allowExtension: true });
}

async function peer(name) {
  const db = await open(name);
  db.exec("PRAGMA journal_mode = WAL; CREATE TABLE note (id INTEGER PRIMARY KEY, body, n)");
  return { db, replica: attach(db, { tables: ["note"], oldValues: true }) };
}

const [here, there] = [await peer("here.db"), await peer("there.db")];
const [left, right] = memoryPair();
here.replica.connect(left);
there.replica.connect(right);

const rowsOf = ({ db }) => db.prepare("SELECT * FROM note").all();
const bytes = new Uint8Array([1, 2]);
here.db.prepare("INSERT INTO note VALUES (?, ?, ?)").run(1, bytes, 1.5);
here.db.exec("BEGIN; INSERT INTO note VALUES (2, 'undone', 0); ROLLBACK");
await there.replica.wait(here.replica.token());
const [row] = rowsOf(there);
assert.deepEqual([row.id, [...row.body], row.n], [1, [1, 2], 1.5]);

const token = there.replica.upsert("note", { id: 1, body: "upserted" });
await here.replica.wait(token);
const feed = here.replica.changes({ since: "oldest" });
const patches = [];
for (let i = 0; i < 2; i++) patches.push(...(await feed.next()).value.patches);
assert.deepEqual(patches, [
  {
    table: "note",
    operation: "insert",
    key: { id: 1 },
    values: { body: bytes, n: 1.5 },
    old: null,
  },
  { table: "note", operation: "update", key: { id: 1 }, values: { body: "upserted" } },
]);

const seen = await new Promise((resolve) => {
  here.replica.watch("SELECT body FROM note WHERE id = ?", [1], ({ rows }) => resolve(rows));
});
assert.equal(seen[0].body, "upserted");
const step = { up: "ALTER TABLE note ADD COLUMN more DEFAULT 7" };
assert.deepEqual(here.replica.migrate([step]), { from: 0, to: 1 });
here.db.exec("UPDATE note SET more = 8");
await there.replica.wait(here.replica.token());
there.replica.migrate([step]);
// What waited for the column is merged in a moment.
for (let tries = 0; tries < 500 && rowsOf(there)[0].more !== 8; tries++) {
  await new Promise((resolve) => setTimeout(resolve, 10));
}
assert.equal(rowsOf(there)[0].more, 8);

// In either order.
here.db.close();
await here.replica.close();
await there.replica.close();
there.db.close();
process.stdout.write(`${driver} ok\n`);
