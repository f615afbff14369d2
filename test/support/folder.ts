/** A folder for the files of one test file, removed when its tests are done. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";

export interface Folder {
  path: string;
  /** A file name that was not given before. */
  file(): string;
}

export function temporaryFolder(): Folder {
  const path = mkdtempSync(join(tmpdir(), "mergelite-"));
  let count = 0;
  afterAll(() => rmSync(path, { recursive: true, force: true }));
  return { path, file: () => join(path, `${count++}.db`) };
}
