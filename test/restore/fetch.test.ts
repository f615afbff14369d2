/** How objects are read ahead of time, and large ones in parts. */
import { expect, test } from "vitest";
import type { BackupFile } from "../../src/restore/chain.ts";
import { fetchInOrder } from "../../src/restore/fetch.ts";
import { ManagedStorage } from "../../src/storage/managed.ts";
import type { Storage, StorageKind } from "../../src/storage/storage.ts";
import { digestOf } from "../support/ltx.ts";
import { MemoryDriver } from "../support/memory-storage.ts";

/** As an object store has them: versions, and ranges that do not begin behind the end. */
class Store extends MemoryDriver {
  override kind: StorageKind = "s3";
  readonly ranges: (number | undefined)[] = [];
  underWay = 0;
  underWayMax = 0;

  override async get(...[key, options]: Parameters<MemoryDriver["get"]>) {
    this.ranges.push(options.range?.offset);
    this.underWayMax = Math.max(this.underWayMax, ++this.underWay);
    await new Promise((resolve) => setTimeout(resolve, 2));
    this.underWay--;
    const content = await super.get(key, options);
    if ((options.range?.offset ?? -1) >= content.bytes) throw new Error("range beyond the end");
    return content;
  }
}

const large = 5 * 1024 * 1024;

async function backup(sizes: readonly number[]) {
  const driver = new Store();
  const storage: Storage = new ManagedStorage(driver);
  const files: BackupFile[] = [];
  for (const [i, bytes] of sizes.entries()) {
    const key = `ltx/0/${i}`;
    await storage.put(key, Buffer.alloc(bytes, `object ${i},`));
    files.push({ key, bytes, level: 0, minTxid: i + 1, maxTxid: i + 1, modifiedMs: 0 });
  }
  return { driver, storage, files };
}

async function readAll(...parameters: Parameters<typeof fetchInOrder>): Promise<Buffer[]> {
  const read: Buffer[] = [];
  for await (const { file, body } of fetchInOrder(...parameters)) {
    const pieces: Uint8Array[] = [];
    for await (const piece of body) pieces.push(piece);
    expect(file).toBe(parameters[1][read.length]);
    read.push(Buffer.concat(pieces));
  }
  return read;
}

const contents = (sizes: readonly number[]) =>
  sizes.map((bytes, i) => Buffer.alloc(bytes, `object ${i},`));

test("objects come in their order and whole, small ones ahead of time", async () => {
  const sizes = [large, ...Array.from({ length: 100 }, (_, i) => i * 10), large, 7];
  const { driver, storage, files } = await backup(sizes);
  expect((await readAll(storage, files)).map(digestOf)).toEqual(contents(sizes).map(digestOf));
  expect(driver.ranges).toEqual(sizes.map(() => undefined));
  expect(driver.underWayMax).toBe(7);
});

test("in a hurry large ones are read in parts, and an object store only is asked for them", async () => {
  const sizes = [large, 10, large + 1];
  const { driver, storage, files } = await backup(sizes);
  const options = { hurries: true, partBytes: 1024 * 1024 };
  expect((await readAll(storage, files, options)).map(digestOf)).toEqual(
    contents(sizes).map(digestOf),
  );
  expect(driver.ranges.filter((offset) => offset !== undefined)).toHaveLength(5 + 6);
  const folder = await backup(sizes);
  folder.driver.kind = "file";
  await readAll(folder.storage, folder.files, options);
  expect(folder.driver.ranges).toEqual([undefined, undefined, undefined]);
});

test("parts of two objects make none", async () => {
  const { driver, storage, files } = await backup([large]);
  const options = { hurries: true, partBytes: 1024 * 1024 };
  const reading = (async () => {
    for await (const { body } of fetchInOrder(storage, files, options)) {
      for await (const _ of body) await storage.put("ltx/0/0", Buffer.alloc(large));
    }
  })();
  await expect(reading).rejects.toMatchObject({ code: "STORAGE_FAILED" });
  expect(driver.objects.size).toBe(1);
});

test("who stops reading leaves no request behind", async () => {
  const { driver, storage, files } = await backup([large, ...Array.from({ length: 20 }, () => 9)]);
  for await (const { body } of fetchInOrder(storage, files, { hurries: true, partBytes: 65_536 })) {
    for await (const _ of body) break;
    break;
  }
  const asked = driver.ranges.length;
  await expect.poll(() => driver.underWay).toBe(0);
  expect(driver.ranges.length).toBeLessThanOrEqual(asked + 8);
});
