/** The declarations, as a program in the strictest settings sees them, under each resolution. */
import { spawnSync } from "node:child_process";
import { rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { root, snippetsOf, userFolder } from "./snippets.ts";

/** What the snippets of docs/changes.md take for granted. */
const surroundings = `
import type Database from "better-sqlite3";
import { DatabaseSync } from "node:sqlite";
import { attach, type Replica, ReplicaError, type Transport } from "mergelite";
import { listenWebSocket, webSocketTransport } from "mergelite/websocket";
import { memoryPair } from "mergelite/memory";
declare const db: Database.Database;
declare const all: Database.Statement;
declare const replica: Replica;
declare const list: number;
declare function readSavedCursor(): string | undefined;
declare function saveCursor(cursor: string): void;
declare function index(table: string, operation: string, key: object, values: object): void;
declare function audit(key: object, operation: string, old: unknown, values: object): void;
declare function render(rows: readonly unknown[]): void;
`;

const program = `
export async function program(signal: AbortSignal | undefined) {
  const other = attach(new DatabaseSync("app.db", { allowExtension: true }), { cluster: undefined });
  await other.wait(replica.token(), { signal });
  await other.drain({ peers: "majority", signal });
  other.watch<{ id: number }>("SELECT id FROM note", [], ({ rows, error }) => {
    if (error === undefined) rows[0]?.id.toFixed();
    else error.message.trim();
  });
  other.on("merge", ({ changesets }) => changesets.toFixed());
  other.upsert("note", { id: 1, body: null, blob: new Uint8Array(1), left: undefined });
  const { differences } = await other.verify({ repair: true, signal });
  differences.toFixed();
  const own: Transport = { async send() {}, messages: (async function* () {})() };
  other.connect(own);
  other.connect(memoryPair()[0]);
  other.connect(webSocketTransport("wss://host", { headers: { authorization: "" } }));
  await listenWebSocket({ host: "::", port: 0 }, (transport) => other.connect(transport));
  try {
    other.migrate<DatabaseSync>([{ up: (db) => db.exec("") }]);
  } catch (error) {
    if (error instanceof ReplicaError && error.code === "MIGRATION_FAILED") error.hint?.trim();
  }
  // @ts-expect-error There is no such option.
  attach(db, { table: ["note"] });
  // @ts-expect-error There is no such event.
  other.on("merged", () => {});
  // @ts-expect-error A listener needs a place.
  await listenWebSocket({ port: 0 }, () => {});
  await using last = other;
}
`;

let folder = "";
beforeAll(async () => {
  folder = await userFolder();
  symlinkSync(join(root, "node_modules/@types"), join(folder, "node_modules/@types"));
  const snippets = snippetsOf("docs/changes.md").filter(({ language }) => language === "ts");
  expect(snippets.length).toBeGreaterThan(3);
  const functions = snippets.map(
    ({ code, line }) => `export async function line${line}() {\n${code}}\n`,
  );
  writeFileSync(join(folder, "user.mts"), surroundings + program + functions.join(""));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test.each([
  ["node16", "node16"],
  ["nodenext", "nodenext"],
  ["esnext", "bundler"],
])("module %s, resolution %s", (module, resolution) => {
  const strict = ["--strict", "--exactOptionalPropertyTypes", "--noUncheckedIndexedAccess"];
  const modules = ["--module", module, "--moduleResolution", resolution, "--esModuleInterop"];
  const libraries = ["--target", "es2022", "--lib", "es2022,esnext.disposable", "--types", "node"];
  const args = ["--noEmit", "--skipLibCheck", "false", ...strict, ...modules, ...libraries];
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  const { stdout, status } = spawnSync(process.execPath, [tsc, ...args, "user.mts"], {
    cwd: folder,
    encoding: "utf8",
  });
  expect({ stdout, status }).toEqual({ stdout: "", status: 0 });
});
