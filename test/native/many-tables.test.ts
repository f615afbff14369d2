/** Thousands of tables: `MERGELITE_TABLES=2000 npx vitest run test/native/many-tables.test.ts`. */
import { expect, it } from "vitest";
import { native } from "../../src/native.ts";
import { temporaryFolder } from "../support/folder.ts";
import { dump, openRaw, pull } from "../support/replica.ts";

const folder = temporaryFolder();
const count = Number(process.env.MERGELITE_TABLES ?? 150);
const names = Array.from({ length: count }, (_, i) => `table_${i}`);
const schema = names.map((name) => `CREATE TABLE ${name} (id INTEGER PRIMARY KEY, a, b)`).join(";");

it(`captures and merges ${count} tables, and notices which one of them has changed`, {
  timeout: 3_600_000,
}, () => {
  const [here, there] = [0, 1].map(() => openRaw(folder.file(), schema, names));
  if (here === undefined || there === undefined) return;
  try {
    expect(native.tables(here.handle)).toHaveLength(count);
    for (const name of names) here.db.exec(`INSERT INTO ${name} VALUES (1, 2, '${name}')`);
    here.db.transaction(() => {
      for (const name of names) here.db.exec(`UPDATE ${name} SET a = 3`);
    })();
    pull(here, there);
    here.db.exec("CREATE TABLE beside (x)");
    const [changed = "", other = ""] = [names[7], names[8]];
    for (const { db } of [here, there]) db.exec(`ALTER TABLE ${changed} ADD COLUMN c`);
    here.db.exec(`UPDATE ${changed} SET c = 4; UPDATE ${other} SET b = 5`);
    pull(here, there);
    for (const name of names) expect(dump(there.db, name)).toEqual(dump(here.db, name));
    // Attached a second time there is nothing to do.
    native.replicateAll(here.handle, names);
    expect(there.db.prepare(`SELECT * FROM ${changed}`).raw().get()).toEqual([1, 3, changed, 4]);
  } finally {
    for (const { db } of [here, there]) db.close();
  }
});
