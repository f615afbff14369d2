/** `mergelite detach`: makes a replicated file an ordinary one again. */
import { type Command, jsonOption } from "./command.ts";
import { isReplicated, loadExtension, withDatabase } from "./database.ts";
import { exitCodes } from "./failure.ts";
import { plural } from "./output.ts";

export const detach: Command = {
  name: "detach",
  usage: "FILE",
  summary: "end replication and remove every trace of it from a file",
  description: `Removes the triggers, companions and system tables from the database FILE. Its rows stay as
they are. What other peers have not received yet, they will never get.`,
  options: { json: jsonOption },
  positionals: [1, 1],
  run: async ({ arguments: [file = ""], values, output }) => {
    const tables = await withDatabase(file, {}, async (db) => {
      if (!isReplicated(db)) return [];
      const { handle, native } = await loadExtension(db);
      const names = native.tables(handle);
      native.detach(handle);
      return names;
    });
    if (values.flag("json")) output.document({ file, tables });
    else if (tables.length === 0) output.line(`${file} replicates no table`);
    else output.line(`${file} is an ordinary database again, ${plural(tables.length, "table")}`);
    return exitCodes.done;
  },
};
