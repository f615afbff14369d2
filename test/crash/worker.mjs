// Writes, merges, folds and trims in a loop until it is killed. Every line on stdout is a commit that
// has been acknowledged: the table, the key, and the value that the row holds from then on.

import { writeSync } from "node:fs";
import { createRequire } from "node:module";
import Database from "better-sqlite3";

const [file, extension, remote, seed] = process.argv.slice(2);
const native = createRequire(import.meta.url)(extension);
const db = new Database(file);
db.pragma("journal_mode = WAL");
db.pragma("synchronous = NORMAL");
db.pragma("busy_timeout = 5000");
db.loadExtension(extension);
const handle = db.prepare("SELECT mergelite_handle()").pluck().get();
native.open(handle, "", "", () => {});
native.replicate(handle, "note");
native.replicate(handle, "spare");

const source = new Database(remote, { readonly: true });
source.loadExtension(extension);
const sourceHandle = source.prepare("SELECT mergelite_handle()").pluck().get();
native.learnShapes(handle, native.shapes(sourceHandle, 0).descriptors);
const [origin, held] = native.vector(sourceHandle);

let state = Number(seed) | 0;
const random = (below) => {
  state = (Math.imul(state, 1664525) + 1013904223) | 0;
  return (state >>> 8) % below;
};
const known = () => {
  const vector = native.vector(handle);
  for (let i = 0; i < vector.length; i += 3) if (vector[i] === origin) return vector[i + 1];
  return 0;
};

const put = db.prepare(
  "INSERT INTO note VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET a = excluded.a, b = excluded.b",
);
const remove = db.prepare("DELETE FROM note WHERE id = ?");
const ids = 200;
// Above every value that is there: what is written later is larger.
const newest = db.prepare("SELECT coalesce(max(CAST(a AS INTEGER)), 0) FROM note WHERE id < ?");
for (let count = newest.pluck().get(ids) + 1; ; count++) {
  const kind = random(11);
  if (kind < 5) {
    const id = random(ids);
    put.run(id, count, "x".repeat(random(3000)));
    writeSync(1, `${[id, count].join(" ")}\n`);
  } else if (kind === 5) {
    const id = random(ids);
    remove.run(id);
    writeSync(1, `${id} gone\n`);
  } else if (kind === 6) {
    const lines = [];
    db.transaction(() => {
      for (let i = 0; i < (random(4) === 0 ? 1500 : 20); i++) {
        const id = random(ids);
        put.run(id, count, "y".repeat(1000));
        lines.push(`${[id, count].join(" ")}\n`);
      }
    })();
    writeSync(1, lines.join(""));
  } else if (kind === 7) {
    db.exec("DROP TABLE spare_patches; CREATE VIRTUAL TABLE spare_patches USING mergelite(spare)");
  } else if (kind === 8) {
    native.maintain(handle, 5);
  } else if (kind === 9) {
    native.trim(handle, 2 ** 53 - 1, new Float64Array(0), new Float64Array(0), 1, 5);
  } else {
    const next = known() + 1;
    if (next <= held) {
      native.merge(
        handle,
        native.readLog(sourceHandle, origin, next, next + random(5), 1 << 20),
        0,
        50,
      );
      writeSync(1, `merged ${known()}\n`);
    }
  }
}
