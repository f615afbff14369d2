/** A process that reads a file as fast as it can, with plain SQLite, and tells what it found wrong. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

const ids = JSON.stringify([...Array(100).keys()]);

/** Money moves between accounts, and each transaction counts up: `sum` and `version` tell on it. */
export const accountsSql = `
  CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL, filler BLOB);
  CREATE TABLE version (n INTEGER NOT NULL);
  INSERT INTO version VALUES (0);
  INSERT INTO account SELECT value, 1000, randomblob(200) FROM json_each('${ids}');`;

export function transferSql(i: number): string {
  const [from, to, amount] = [i % 100, (i * 7 + 3) % 100, i % 17];
  return `BEGIN; UPDATE version SET n = n + 1;
    UPDATE account SET balance = balance - ${amount}, filler = randomblob(150) WHERE id = ${from};
    UPDATE account SET balance = balance + ${amount} WHERE id = ${to}; COMMIT;`;
}

const program = `
import { createRequire } from "node:module";
const Database = createRequire(${JSON.stringify(join(process.cwd(), "package.json"))})("better-sqlite3");
const [file, timeout] = process.argv.slice(2);
const db = new Database(file, { readonly: true, timeout: Number(timeout) });
const version = db.prepare("SELECT n FROM version").pluck();
const sum = db.prepare("SELECT sum(balance) FROM account").pluck();
const found = { reads: 0, versions: 0, wrong: [] };
let last = -1;
process.on("message", () => { process.send(found, () => process.exit(0)); });
process.send("reading");
function read() {
  for (let i = 0; i < 20; i++) {
    try {
      db.exec("BEGIN");
      const [before, total, after] = [version.get(), sum.get(), version.get()];
      db.exec("COMMIT");
      if (total !== 100000) found.wrong.push("sum " + total);
      if (before !== after || before < last) found.wrong.push("version " + [last, before, after]);
      if (before !== last) found.versions++;
      last = before;
      if (found.reads++ % 50 === 0) {
        const check = db.pragma("quick_check", { simple: true });
        if (check !== "ok") found.wrong.push(check);
      }
    } catch (error) {
      found.wrong.push(error.code ?? String(error));
      if (db.inTransaction) db.exec("ROLLBACK");
    }
  }
  setImmediate(read);
}
read();
`;

export interface Found {
  reads: number;
  /** Different states seen. */
  versions: number;
  wrong: string[];
}

export class ReaderProcess {
  readonly #child: ChildProcess;

  /** `timeoutMs`: SQLite's busy timeout; with 0 every lock that is not had at once is an error. */
  static async start(folder: string, file: string, timeoutMs: number): Promise<ReaderProcess> {
    const script = join(folder, "reader.mjs");
    writeFileSync(script, program);
    const child = spawn(process.execPath, [script, file, String(timeoutMs)], {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    await once(child, "message");
    return new ReaderProcess(child);
  }

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  async stop(): Promise<Found> {
    const told = once(this.#child, "message");
    const ended = once(this.#child, "exit");
    this.#child.send("stop");
    const [found] = (await told) as [Found];
    // Whoever closes the file next is to be the last one.
    await ended;
    return found;
  }
}
