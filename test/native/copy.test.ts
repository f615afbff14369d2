/** Pages written into a database beside readers: as SQLite's own commits, whatever its pages. */
import { readFileSync, writeFileSync } from "node:fs";
import Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { DatabaseCopy } from "../../src/restore/sqlite.ts";
import { churn } from "../support/backup.ts";
import { temporaryFolder } from "../support/folder.ts";
import { batchOf, digestOf } from "../support/ltx.ts";

const folder = temporaryFolder();

class Source {
  readonly db = new Database(":memory:");
  readonly pageSize: number;
  image: Buffer;

  constructor(pageSize: number) {
    this.pageSize = pageSize;
    this.db.pragma(`page_size = ${pageSize}`);
    this.db.pragma("auto_vacuum = INCREMENTAL");
    this.db.exec("CREATE TABLE note (id INTEGER PRIMARY KEY, body BLOB)");
    this.image = this.#take();
  }

  #take(): Buffer {
    const image = this.db.serialize();
    image[18] = image[19] = 2;
    return image;
  }

  /** Runs SQL and gives the pages it changed. */
  write(sql: string): { pages: Map<number, Uint8Array>; commit: number } {
    this.db.exec(sql);
    const before = this.image;
    this.image = this.#take();
    const pages = new Map<number, Uint8Array>();
    const size = this.pageSize;
    for (let at = 0; at < this.image.length; at += size) {
      const page = this.image.subarray(at, at + size);
      if (!page.equals(before.subarray(at, at + size))) pages.set(at / size + 1, page);
    }
    return { pages, commit: this.image.length / size };
  }
}

async function open(source: Source): Promise<{ file: string; copy: DatabaseCopy }> {
  const file = folder.file();
  writeFileSync(file, source.image);
  return { file, copy: await DatabaseCopy.open(file) };
}

/** Tells two contents of the table apart. */
function rowsOf(db: Database.Database): string {
  const rows = db.prepare("SELECT body FROM note ORDER BY id").pluck().all() as Buffer[];
  return `${rows.length} ${digestOf(Buffer.concat(rows))}`;
}

/** Through SQLite, for the file alone does not have what is in the log. */
const imageOf = (db: Database.Database) => {
  const image = db.serialize();
  image[18] = image[19] = 2;
  return image;
};

describe.each([512, 1024, 4096, 65_536])("pages of %i bytes", (pageSize) => {
  test("every transaction shows, to a connection that stays and to new ones", async () => {
    const source = new Source(pageSize);
    const { file, copy } = await open(source);
    const reader = new Database(file, { readonly: true });
    for (let i = 0; i < 60; i++) {
      const { pages, commit } = source.write(churn(i));
      expect((await copy.begin()).busy).toBe(false);
      const batch = batchOf(pages);
      const before = rowsOf(reader);
      const half = batch.numbers.length >> 1;
      if (half > 0 && i % 2 === 0) {
        // In two pieces: nothing shows before the second.
        const cut = half * pageSize;
        const first = { numbers: batch.numbers.slice(0, half), data: batch.data.slice(0, cut) };
        await copy.append(pageSize, first, 0);
        expect(rowsOf(reader)).toBe(before);
        const rest = { numbers: batch.numbers.slice(half), data: batch.data.slice(cut) };
        await copy.append(pageSize, rest, commit);
      } else {
        await copy.append(pageSize, batch, commit);
      }
      expect(rowsOf(reader)).toEqual(rowsOf(source.db));
      if (i % 7 === 0) await copy.checkpoint();
      if (i % 10 !== 9) continue;
      const other = new Database(file, { readonly: true });
      expect(imageOf(other).equals(source.image)).toBe(true);
      expect(other.pragma("integrity_check", { simple: true })).toBe("ok");
      other.close();
    }
    reader.close();
    expect(await copy.check()).toEqual([]);
    await copy.close();
    expect(readFileSync(file).equals(source.image)).toBe(true);
  });
});

describe("beside others", () => {
  test("a reader keeps its moment while the log goes on, and the log is not emptied under it", async () => {
    const source = new Source(512);
    const { file, copy } = await open(source);
    const reader = new Database(file, { readonly: true });
    reader.exec("BEGIN");
    const rows = rowsOf(reader);
    for (let i = 0; i < 30; i++) {
      const { pages, commit } = source.write(churn(i));
      await copy.begin();
      await copy.append(512, batchOf(pages), commit);
      await copy.checkpoint();
      expect(rowsOf(reader)).toEqual(rows);
    }
    reader.exec("COMMIT");
    expect(rowsOf(reader)).toEqual(rowsOf(source.db));
    const { frames } = await copy.checkpoint();
    expect(frames).toBe(0);
    reader.close();
    await copy.close();
  });

  test("a log of many zones of its index, and one that begins anew", async () => {
    const source = new Source(512);
    const { file, copy } = await open(source);
    const reader = new Database(file, { readonly: true });
    for (let i = 0; i < 12; i++) {
      // About 2,000 pages each: the first zone has room for 4,062.
      const { pages, commit } = source.write(
        `DELETE FROM note; INSERT INTO note (body) SELECT randomblob(470) FROM
         (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) SELECT i FROM n)`,
      );
      await copy.begin();
      await copy.append(512, batchOf(pages), commit);
      expect(reader.prepare("SELECT count(*) FROM note").pluck().get()).toBe(2000);
      if (i === 8) await copy.checkpoint();
    }
    expect(imageOf(reader).equals(source.image)).toBe(true);
    // Another connection recovers the log from its frames alone.
    const other = new Database(file);
    expect(other.pragma("integrity_check", { simple: true })).toBe("ok");
    other.close();
    reader.close();
    await copy.close();
    expect(readFileSync(file).equals(source.image)).toBe(true);
  });

  test("what is rolled back leaves no trace, also in the index", async () => {
    const source = new Source(512);
    const { file, copy } = await open(source);
    for (let i = 0; i < 10; i++) {
      const before = source.image;
      const { pages, commit } = source.write(churn(i));
      await copy.begin();
      const junk = new Map([...pages].map(([page]) => [page, Buffer.alloc(512, i)]));
      await copy.append(512, batchOf(junk), 0);
      await copy.rollback();
      const reader = new Database(file, { readonly: true });
      expect(imageOf(reader).equals(before)).toBe(true);
      reader.close();
      await copy.begin();
      await copy.append(512, batchOf(pages), commit);
    }
    await copy.close();
    expect(readFileSync(file).equals(source.image)).toBe(true);
  });

  test("a writer that should not be there is waited for, and noticed", async () => {
    const source = new Source(512);
    const { file, copy } = await open(source);
    const { pages, commit } = source.write(churn(0));
    const other = new Database(file);
    other.exec("BEGIN IMMEDIATE");
    expect((await copy.begin()).busy).toBe(true);
    other.exec("ROLLBACK");
    expect(await copy.begin()).toMatchObject({ busy: false, altered: false });
    await copy.append(512, batchOf(pages), commit);
    // Checkpoints of others are none of its business.
    other.pragma("wal_checkpoint(TRUNCATE)");
    expect(await copy.begin()).toMatchObject({ altered: false });
    await copy.rollback();
    other.exec("DELETE FROM note");
    expect(await copy.begin()).toMatchObject({ altered: true });
    await copy.rollback();
    other.close();
    await copy.close();
  });

  test("mistakes are errors", async () => {
    await expect(DatabaseCopy.open(`${folder.path}/missing.db`)).rejects.toMatchObject({
      code: "SQLITE",
      message: expect.stringContaining("missing.db"),
    });
    const { copy } = await open(new Source(512));
    const page = { numbers: Uint32Array.of(1), data: Buffer.alloc(1024) };
    await expect(copy.append(512, page, 1)).rejects.toThrow("nothing was begun");
    await copy.begin();
    await expect(copy.append(1024, page, 1)).rejects.toThrow("another size");
    await expect(copy.append(512, { ...page, numbers: Uint32Array.of(0) }, 1)).rejects.toThrow();
    await expect(copy.append(700, page, 1)).rejects.toThrow("do not fit together");
    await copy.close();
    await expect(copy.begin()).rejects.toThrow("closed");
  });
});
