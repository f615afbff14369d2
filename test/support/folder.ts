/** A folder for the files of one test file, removed when its tests are done. */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";

export interface Folder {
  path: string;
  /** A file name that was not given before. */
  file(): string;
}

/** `inMemory`: where the system has such a file system, for tests that do not lose power. */
export function temporaryFolder({ inMemory = false } = {}): Folder {
  const parent = inMemory && existsSync("/dev/shm") ? "/dev/shm" : tmpdir();
  const path = mkdtempSync(join(parent, "mergelite-"));
  let count = 0;
  afterAll(() => rmSync(path, { recursive: true, force: true }));
  return { path, file: () => join(path, `${count++}.db`) };
}
