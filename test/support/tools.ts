/** What some tests use besides the project's own packages. */
import { existsSync } from "node:fs";
import { join } from "node:path";

/** A file of the npm packages in the folder that MERGELITE_TOOLS names. */
export function tool(file: string): string | undefined {
  const path = join(process.env.MERGELITE_TOOLS ?? "", "node_modules", file);
  return process.env.MERGELITE_TOOLS !== undefined && existsSync(path) ? path : undefined;
}
