/** A folder as a storage. */
import { chmodSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { fileStorage } from "../../src/storage/file.ts";
import { temporaryFolder } from "../support/folder.ts";
import { describeStorage } from "../support/storage-suite.ts";

const folder = temporaryFolder();

describeStorage("file", { open: (prefix) => fileStorage(join(folder.path, prefix)) });

test("what is being written is nobody's object", async () => {
  const root = join(folder.path, "partial");
  const storage = fileStorage(root);
  let seen: string[] = [];
  await storage.put("a", async function* () {
    yield Buffer.from("x");
    seen = readdirSync(root);
    for await (const { key } of storage.list("")) throw new Error(`listed ${key}`);
  });
  expect(seen).toHaveLength(1);
  expect(readdirSync(root)).toEqual(["a"]);
});

test.skipIf(process.getuid?.() === 0)("a folder that may not be written says so", async () => {
  const root = join(folder.path, "locked");
  mkdirSync(root);
  chmodSync(root, 0o500);
  const put = fileStorage(root).put("a", Buffer.from("x"));
  await expect(put).rejects.toMatchObject({ code: "STORAGE_DENIED" });
});
