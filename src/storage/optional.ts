/** Packages that only some kinds of storage need, and that are installed beside mergelite. */
import { ReplicaError } from "../errors.ts";

/** @throws `STORAGE_MODULE` */
export async function importOptional(name: string, kind: string): Promise<unknown> {
  try {
    const module = (await import(name)) as { default?: unknown };
    return module.default ?? module;
  } catch (cause) {
    throw new ReplicaError("STORAGE_MODULE", `${kind}:// needs the package ${name}`, {
      cause,
      hint: `npm install ${name}`,
    });
  }
}
