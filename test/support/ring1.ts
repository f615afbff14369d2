/** The pure part of the native code: what has no includes of SQLite or Node. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

export const root: string = fileURLToPath(new URL("../..", import.meta.url));

/** File names within native/, headers included. */
export const ring1: readonly string[] = readFileSync(`${root}/native/ring1.txt`, "utf8")
  .split("\n")
  .filter((name) => name !== "");
