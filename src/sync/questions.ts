/** The questions of `verify` on all links: those asked and not answered yet, and those of others. */
import type { Clock } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import type { RepairResult } from "../native.ts";
import type { LinkHost } from "./link-host.ts";
import type { Rangeable } from "./own-table.ts";
import type { Repair, VerifyAnswer, VerifyMessage, VerifyRequest } from "./protocol-verify.ts";
import type { Ask } from "./verify.ts";
import { answerVerify } from "./verify-answer.ts";

export interface QuestionsOwner {
  readonly clock: Clock;
  /** A peer that compares its tables with ours has mended some rows here. */
  onRepaired(result: RepairResult): void;
  onError(error: ReplicaError): void;
}

/** How long an answer may take before it is asked again. */
const askAgainMs = 5_000;
/** What no sound peer asks. */
const nonsense: ReadonlySet<string> = new Set(["KEY_MALFORMED", "PAYLOAD_CORRUPT"]);

/** From a peer that stands outside the floor no rows are taken; see `floor.ts`. */
const outside: Repair = {
  kind: "repair",
  requestId: 0,
  outcome: "behind",
  keys: 0,
  taken: 0,
  rewritten: 0,
  chunk: new Uint8Array(0),
};

export class Questions {
  readonly #store: Rangeable;
  readonly #owner: QuestionsOwner;
  readonly #asked = new Map<number, [stop: (answer?: VerifyAnswer) => void, link: LinkHost]>();
  /** Asked again meanwhile, they are not begun again. */
  readonly #answering = new WeakMap<LinkHost, Set<number>>();
  #nextRequestId = 1;

  constructor(store: Rangeable, owner: QuestionsOwner) {
    this.#store = store;
    this.#owner = owner;
  }

  /** Sends requests over a link; rejects when it ends. */
  asker(link: LinkHost, signal: AbortSignal | undefined): Ask {
    return (message) =>
      new Promise((resolve, reject) => {
        const requestId = this.#nextRequestId++;
        const stop = (answer?: VerifyAnswer) => {
          this.#asked.delete(requestId);
          signal?.removeEventListener("abort", abort);
          if (answer !== undefined) resolve(answer);
          else reject(endedError());
        };
        const abort = () => {
          this.#asked.delete(requestId);
          reject(signal?.reason);
        };
        if (signal?.aborted) {
          abort();
          return;
        }
        // Between two questions nobody would have been told.
        if (!link.live) return reject(endedError());
        if (message.kind === "repairRequest" && link.gated) return resolve(outside);
        signal?.addEventListener("abort", abort, { once: true });
        this.#asked.set(requestId, [stop, link]);
        const { clock } = this.#owner;
        // Messages may be lost; a question may be asked, and answered, twice.
        const send = () => {
          if (!this.#asked.has(requestId)) return;
          link.input({ type: "verify", message: { ...message, requestId }, nowMs: clock.now() });
          clock.setTimer(askAgainMs, send);
        };
        send();
      });
  }

  onMessage(link: LinkHost, message: VerifyMessage): void {
    if (message.kind === "ranges" || message.kind === "rows" || message.kind === "repair") {
      this.#asked.get(message.requestId)?.[0](message);
    } else {
      this.#answer(link, message);
    }
  }

  onEnded(link: LinkHost): void {
    for (const [stopAsking, asked] of [...this.#asked.values()]) {
      if (asked === link) stopAsking();
    }
  }

  #answer(link: LinkHost, request: VerifyRequest): void {
    const answering = this.#answering.get(link) ?? new Set();
    this.#answering.set(link, answering);
    const { requestId } = request;
    if (answering.has(requestId)) return;
    if (request.kind === "repairRequest" && request.chunk.byteLength > 0 && link.gated) {
      const message = { ...outside, requestId };
      link.input({ type: "verify", message, nowMs: this.#owner.clock.now() });
      return;
    }
    answering.add(requestId);
    const { clock } = this.#owner;
    const onRepaired = (result: RepairResult) => this.#owner.onRepaired(result);
    answerVerify(this.#store, request, { clock, onRepaired })
      .then(
        (answer) => link.input({ type: "verify", message: answer, nowMs: clock.now() }),
        (error: unknown) => {
          if (!(error instanceof ReplicaError)) throw error;
          if (!nonsense.has(error.code)) this.#owner.onError(error);
          else link.close("PROTOCOL_MALFORMED", error.message);
        },
      )
      .finally(() => answering.delete(requestId));
  }
}

function endedError(): ReplicaError {
  return new ReplicaError("LINK_CLOSED", "the link ended before the answer came");
}
