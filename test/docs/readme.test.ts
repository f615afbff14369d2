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

test("every block is of a kind that is run here, or is for a shell", () => {
  const languages = new Set(snippets.map(({ language }) => language));
  for (const language of languages) expect(["js", "sql", "sh", "text"]).toContain(language);
});

describe("JavaScript", () => {
  const programs = snippets.filter(({ language }) => language === "js");
  test.each(programs.map((one) => [titleOf(one), one] as const))("%s", async (title, { code }) => {
    const printed = await runProgram(folder, `${title.replace(/\W/g, "-")}.mjs`, code);
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
