/** `verify` between two replicas of one process, without a link: every message is counted. */
import { systemClock } from "../../src/clock.ts";
import { Store } from "../../src/log/store.ts";
import type { Rangeable } from "../../src/sync/own-table.ts";
import { decodeMessage, encodeMessage } from "../../src/sync/protocol.ts";
import type { VerifyAnswer, VerifyRequest } from "../../src/sync/protocol-verify.ts";
import { type Verification, verifyTables } from "../../src/sync/verify.ts";
import { answerVerify } from "../../src/sync/verify-answer.ts";
import type { RawReplica } from "./replica.ts";

export function rangeable({ db }: RawReplica): Rangeable {
  return new Store(db);
}

export async function verifyPair(
  here: RawReplica,
  there: RawReplica,
  tables: readonly string[],
  {
    deep = false,
    limit = 1_000_000,
    repair,
  }: { deep?: boolean; limit?: number; repair?: "here" | "there" } = {},
): Promise<Verification & { messages: number }> {
  let messages = 0;
  const ask = async (request: VerifyRequest): Promise<VerifyAnswer> => {
    messages += 2;
    const sent = decodeMessage(encodeMessage(request)) as VerifyRequest;
    const answer = await answerVerify(rangeable(there), sent, {
      clock: systemClock,
      onRepaired: () => {},
    });
    return decodeMessage(encodeMessage(answer)) as VerifyAnswer;
  };
  const options = {
    ask,
    limit,
    deep,
    clock: systemClock,
    repair: repair && { winner: repair, onRepaired: () => {} },
  };
  return { ...(await verifyTables(rangeable(here), tables, options)), messages };
}
