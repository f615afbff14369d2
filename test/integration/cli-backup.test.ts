/** `restore`, `backups` and `check` as they are run. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect, test } from "vitest";
import { fileStorage } from "../../src/storage/file.ts";
import { churn, HandMadeBackup } from "../support/backup.ts";
import { fail, run, succeed } from "../support/cli.ts";
import { temporaryFolder } from "../support/folder.ts";

const folder = temporaryFolder();

async function made(): Promise<{ backup: HandMadeBackup; url: string }> {
  const path = `${folder.file()}-backup`;
  const backup = new HandMadeBackup(fileStorage(path));
  for (let i = 0; i < 6; i++) await backup.write(churn(i), Date.UTC(2026, 0, 1, 12, i));
  await backup.join(1, 3, 9);
  return { backup, url: pathToFileURL(path).href };
}

test("a backup is listed, checked, and restored to any point", async () => {
  const { backup, url } = await made();
  const list = JSON.parse(await succeed("backups", url, "--json")) as Record<string, unknown>;
  expect(list).toMatchObject({
    oldest: { position: "0000000000000001", wallTime: "2026-01-01T12:00:00.000Z" },
    newest: { position: "0000000000000006" },
    complete: true,
    snapshots: [{ position: "0000000000000001" }, { position: "0000000000000003" }],
  });
  expect(await succeed("backups", url)).toContain("level 9");
  expect(await succeed("check", url)).toMatch(
    /^sound at position 0000000000000006 of 2026-01-01T12:05/,
  );
  for (const [at, position] of [
    ["4", 4],
    ["2026-01-01T12:01:59Z", 2],
  ] as const) {
    const file = folder.file();
    expect(await succeed("restore", url, file, "--at", at)).toContain(`000${position} of 2026`);
    expect(readFileSync(file).equals(backup.images.get(position) ?? Buffer.alloc(0))).toBe(true);
  }
});

test("an existing file, damage, and mistakes", async () => {
  const { backup, url } = await made();
  const file = folder.file();
  await succeed("restore", url, file);
  expect(await fail(1, "restore", url, file)).toContain("exists");
  expect((await run("restore", url, file, "--if-missing")).code).toBe(0);
  await backup.storage.put(backup.key(5, 5), Buffer.from("damaged"));
  const stderr = await fail(1, "restore", url, file, "--force");
  expect(stderr).toContain(backup.key(5, 5));
  expect(stderr).toContain("0000000000000004.");
  expect(readFileSync(file).equals(backup.image)).toBe(true);
  await succeed("restore", url, file, "--force", "--at", "4");
  expect(await fail(1, "check", url)).toContain(backup.key(5, 5));
  const nowhere = join(file, "..", "missing", "app.db");
  expect(await fail(1, "restore", url, nowhere)).toMatch(/: the folder .*missing does not exist\n/);
  expect(await fail(1, "restore", "app.db", file)).toContain('not the URL of a storage: "app.db"');
  expect(await fail(2, "restore", url, file, "--at", "yesterday")).toContain("--at must be");
  const missing = `${url}-none`;
  expect((await run("backups", missing)).code).toBe(1);
  expect(await fail(1, "restore", missing, folder.file())).toContain("has no backup");
  expect(await fail(1, "restore", "ftp", folder.file())).toContain("URL");
  expect(existsSync(`${file}-wal`)).toBe(false);
});
