/** Answers what another peer asks while it compares and mends its tables. */
import type { Clock } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import type { RepairResult } from "../native.ts";
import { OwnTable, type Rangeable } from "./own-table.ts";
import type {
  RangeDigest,
  RangesRequest,
  RepairRequest,
  VerifyAnswer,
  VerifyRequest,
} from "./protocol-verify.ts";

export interface AnswerOptions {
  readonly clock: Clock;
  /** Nobody waits for the answer any more. */
  readonly signal?: AbortSignal | undefined;
  /** Rows were taken from the peer, and perhaps written anew. */
  onRepaired(result: RepairResult): void;
}

/** @throws KEY_MALFORMED, PAYLOAD_CORRUPT when what was asked makes no sense; `signal.reason` */
export async function answerVerify(
  store: Rangeable,
  request: VerifyRequest,
  options: AnswerOptions,
): Promise<VerifyAnswer> {
  const { requestId, table } = request;
  const own = new OwnTable(store, table, options);
  try {
    if (request.kind === "repairRequest") return await repairFor(own, request, options);
    if (request.kind === "rangesRequest") return await compareFor(own, request);
    const { rows, done } = await own.rows(request);
    return { kind: "rows", requestId, rows, done };
  } catch (error) {
    if (!(error instanceof ReplicaError) || error.code !== "TABLE_NOT_REPLICATED") throw error;
    // It was when its ranges were compared.
    if (request.kind === "rowsRequest") return { kind: "rows", requestId, rows: [], done: true };
    if (request.kind === "rangesRequest") {
      return { kind: "ranges", requestId, outcome: "unknown", ranges: [] };
    }
    return { ...nothing, requestId, outcome: "unknown" };
  }
}

const nothing = {
  kind: "repair",
  keys: 0,
  taken: 0,
  rewritten: 0,
  chunk: new Uint8Array(0),
} as const;

async function compareFor(own: OwnTable, request: RangesRequest): Promise<VerifyAnswer> {
  const { requestId } = request;
  const ranges: { equal: boolean; rows: number }[] = [];
  if (request.deep) await own.doubt();
  for (const { from, to, rows, digest } of request.ranges) {
    const here: { order: bigint; parts: RangeDigest[] } = await own.ranges({ from, to }, 1);
    if (here.order !== request.order) {
      return { kind: "ranges", requestId, outcome: "unordered", ranges: [] };
    }
    const [one] = here.parts;
    ranges.push({ equal: one?.digest === digest && one.rows === rows, rows: one?.rows ?? 0 });
  }
  return { kind: "ranges", requestId, outcome: "compared", ranges };
}

async function repairFor(
  own: OwnTable,
  { requestId, keys, chunk }: RepairRequest,
  options: AnswerOptions,
): Promise<VerifyAnswer> {
  if (chunk.byteLength === 0) {
    const read = await own.read(keys);
    return { ...nothing, requestId, outcome: "done", keys: read.keys, chunk: read.chunk };
  }
  const result = await own.repair(keys, chunk);
  if (result.behind) return { ...nothing, requestId, outcome: "behind" };
  if (result.resumeAtMs > 0) return { ...nothing, requestId, outcome: "ahead" };
  options.onRepaired(result);
  const { taken, rewritten } = result;
  return { ...nothing, requestId, outcome: "done", keys: keys.length, taken, rewritten };
}
