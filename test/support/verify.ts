/** `verify` between two replicas of one process, without a link: every message is counted. */
import { systemClock } from "../../src/clock.ts";
import { Store } from "../../src/log/store.ts";
import { decodeMessage, encodeMessage } from "../../src/sync/protocol.ts";
import type { VerifyAnswer, VerifyRequest } from "../../src/sync/protocol-verify.ts";
import {
  answerVerify,
  type Rangeable,
  type Verification,
  verifyTables,
} from "../../src/sync/verify.ts";
import type { RawReplica } from "./replica.ts";

export function rangeable({ db }: RawReplica): Rangeable {
  return new Store(db);
}

export async function verifyPair(
  here: RawReplica,
  there: RawReplica,
  tables: readonly string[],
  { deep = false, limit = 1_000_000 } = {},
): Promise<Verification & { messages: number }> {
  let messages = 0;
  const ask = async (request: VerifyRequest): Promise<VerifyAnswer> => {
    messages += 2;
    const sent = decodeMessage(encodeMessage(request)) as VerifyRequest;
    const answer = await answerVerify(rangeable(there), sent, systemClock);
    return decodeMessage(encodeMessage(answer)) as VerifyAnswer;
  };
  const options = { ask, limit, deep, clock: systemClock };
  return { ...(await verifyTables(rangeable(here), tables, options)), messages };
}
