/** What the documentation tells people to type does what it says. */
import { rm } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runProgram, type Snippet, snippetsOf, userFolder } from "./snippets.ts";

const files = ["README.md", "docs/getting-started.md", "docs/schema.md"];
const snippets = files.flatMap(snippetsOf);
const titleOf = ({ file, line }: Snippet) => `${file}:${line}`;

let folder = "";
beforeAll(async () => {
  folder = await userFolder();
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Runs statements of a document in one fresh database that has the extension. */
const sqlProgram = (sql: string) => `
import Database from "better-sqlite3";
import { attach } from "mergelite";
const db = new Database(":memory:");
const replica = attach(db);
db.exec(${JSON.stringify(sql)});
await replica.close();
`;

/** A block that only defines a transport is put to use. */
const transportProgram = (code: string) => `${code}
import { MessageChannel } from "node:worker_threads";
import Database from "better-sqlite3";
import { attach } from "mergelite";
const open = () => {
  const db = new Database(":memory:");
  db.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, x)");
  return { db, replica: attach(db, { tables: ["t"] }) };
};
const { port1, port2 } = new MessageChannel();
const left = open();
const right = open();
left.replica.connect(overPort(port1));
right.replica.connect(overPort(port2));
left.db.exec("INSERT INTO t VALUES (1, 'over a port')");
await right.replica.wait(left.replica.token());
console.log(right.db.prepare("SELECT x FROM t").get());
await left.replica.close();
await right.replica.close();
`;

test("every block is of a kind that is run here, or is for a shell", () => {
  const languages = new Set(snippets.map(({ language }) => language));
  for (const language of languages) expect(["js", "sql", "sh", "text"]).toContain(language);
});

describe("JavaScript", () => {
  const programs = snippets.filter(({ language }) => language === "js");
  test.each(programs.map((one) => [titleOf(one), one] as const))("%s", async (title, { code }) => {
    const isTransport = code.includes("export const overPort");
    const name = `${title.replace(/\W/g, "-")}.mjs`;
    const printed = await runProgram(folder, name, isTransport ? transportProgram(code) : code);
    // Where the document says what is printed, it is.
    for (const [, expected] of code.matchAll(/\/\/ prints (.+)$/gm)) {
      expect(printed).toContain(expected);
    }
    expect(printed).not.toBe("");
  });
});

describe("SQL", () => {
  const statements = snippets.filter(({ language }) => language === "sql");
  test.each(statements.map((one) => [titleOf(one), one] as const))(
    "%s",
    async (title, { code }) => {
      await runProgram(folder, `${title.replace(/\W/g, "-")}.mjs`, sqlProgram(code));
    },
  );
});
