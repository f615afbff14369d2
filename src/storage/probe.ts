/** Whether a storage does what leases stand on. */
import { randomUUID } from "node:crypto";
import { ReplicaError } from "../errors.ts";
import type { Storage, StorageCallOptions } from "./storage.ts";

export interface ProbeOptions extends StorageCallOptions {
  /** Where in the storage: a path that ends in a slash. @default "" */
  readonly root?: string;
}

/**
 * Writes one key twice on the condition that it is absent. Some servers ignore conditions, and two
 * processes that rely on them there would both believe that they are alone. Leaves nothing behind.
 * @throws `STORAGE_UNSAFE`
 */
export async function probeConditions(
  storage: Storage,
  { root = "", ...options }: ProbeOptions = {},
): Promise<void> {
  const key = `${root}probe/${randomUUID()}`;
  const put = () => storage.putIfAbsent(key, Buffer.from(randomUUID()), options);
  try {
    if ((await put()) && !(await put())) return;
  } finally {
    await storage.delete(key, options);
  }
  throw new ReplicaError("STORAGE_UNSAFE", `${storage.name} ignores conditional writes`, {
    hint: "Use a server that honours them, or see to it that only one process writes there.",
  });
}
