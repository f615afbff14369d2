// Litestream itself, as its SQLite extension, on the backup that LITESTREAM_REPLICA_URL names:
//   litestream.mjs EXTENSION copy          restores to LITESTREAM_HYDRATION_PATH, as Litestream restores
//   litestream.mjs EXTENSION rows [TIME]   prints the rows of `note`, now or at a time
//   litestream.mjs EXTENSION write SQL     writes one transaction into the backup
import { DatabaseSync } from "node:sqlite";

const [extension = "", task = "", argument] = process.argv.slice(2);
const pause = () => new Promise((resolve) => setTimeout(resolve, 20));
const pragma = (name) => Object.values(db.prepare(`PRAGMA ${name}`).get() ?? {})[0];

new DatabaseSync(":memory:", { allowExtension: true }).loadExtension(extension);
const db = new DatabaseSync("file:app.db?vfs=litestream", { readOnly: task !== "write" });
switch (task) {
  case "copy":
    while (Number(pragma("litestream_hydration_progress")) < 100) await pause();
    break;
  case "rows": {
    if (argument !== undefined) db.exec(`PRAGMA litestream_time = '${argument}'`);
    const rows = db.prepare("SELECT id, hex(body) AS body FROM note ORDER BY id").all();
    process.stdout.write(JSON.stringify(rows));
    break;
  }
  case "write": {
    const before = pragma("litestream_txid");
    db.exec(argument);
    while (pragma("litestream_txid") === before) await pause();
  }
}
