/** `mergelite forget`: says that a peer will not return. */
import { type Command, jsonOption } from "./command.ts";
import { loadExtension, requireReplicated, withDatabase } from "./database.ts";
import { exitCodes, usageFailure } from "./failure.ts";

export const forget: Command = {
  name: "forget",
  usage: "FILE PEER",
  summary: "stop waiting for a peer that will not return",
  description: `Lets the log be trimmed and tombstones go without waiting for the peer of id PEER, in FILE and, when
a replica has it open, in the whole cluster. If it links again all the same, it takes a new id.`,
  options: { json: jsonOption },
  positionals: [2, 2],
  run: async ({ arguments: [file = "", peer = ""], values, output }) => {
    const peerId = Number(peer);
    if (!Number.isSafeInteger(peerId) || peerId <= 0) {
      throw usageFailure(`a peer id is a number above 0, not ${JSON.stringify(peer)}`);
    }
    const forgotten = await withDatabase(file, {}, async (db) => {
      requireReplicated(db, file);
      const { handle, native } = await loadExtension(db);
      return native.forgetPeer(handle, peerId);
    });
    if (values.flag("json")) output.document({ file, peerId, forgotten });
    else output.line(forgotten ? `peer ${peer} is forgotten` : `${file} is busy: try again`);
    return forgotten ? exitCodes.done : exitCodes.failed;
  },
};
