/** Listing storages that have folders as if they had keys only. */
import type { DriverList } from "./driver.ts";
import type { StoredObject } from "./storage.ts";

export interface TreeEntry {
  readonly name: string;
  readonly isFolder: boolean;
  readonly bytes: number;
  readonly modifiedMs: number;
}

/** The entries of a folder (`""` is the root, else without a slash at its end); none if missing. */
export type ReadFolder = (folder: string) => Promise<readonly TreeEntry[]>;

const pageObjects = 1000;

/** Walks folders in the order of keys, and only into those that can hold what is asked for. */
export async function* listTree(
  readFolder: ReadFolder,
  prefix: string,
  { after, signal }: DriverList,
): AsyncGenerator<readonly StoredObject[]> {
  let page: StoredObject[] = [];
  for await (const object of walk(prefix.slice(0, Math.max(0, prefix.lastIndexOf("/"))))) {
    page.push(object);
    if (page.length < pageObjects) continue;
    yield page;
    page = [];
  }
  if (page.length > 0) yield page;

  async function* walk(folder: string): AsyncGenerator<StoredObject> {
    signal?.throwIfAborted();
    const entries = (await readFolder(folder))
      // What we are still writing, and what is nobody's key.
      .filter(({ name }) => !name.startsWith("."))
      .map((entry) => ({ ...entry, key: folder === "" ? entry.name : `${folder}/${entry.name}` }))
      // A folder sorts as its keys do: with the slash behind its name.
      .map((entry) => ({ ...entry, order: entry.isFolder ? `${entry.key}/` : entry.key }))
      .sort((a, b) => (a.order < b.order ? -1 : 1));
    for (const { key, order, isFolder, bytes, modifiedMs } of entries) {
      if (isFolder) {
        const mayMatch = order.startsWith(prefix) || prefix.startsWith(order);
        const mayFollow = order > after || after.startsWith(order);
        if (mayMatch && mayFollow) yield* walk(key);
      } else if (key.startsWith(prefix) && key > after) {
        yield { key, bytes, modifiedMs };
      }
    }
  }
}
