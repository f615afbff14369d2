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
/** Of one link, at once: it does not have to answer more, for they are asked again. */
const answeringMax = 16;
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

interface Asked {
  readonly link: LinkHost;
  /** Without an answer: it will not come. */
  stop(answer?: VerifyAnswer): void;
}

/** What is being answered to a link. */
interface Answering {
  /** Asked again meanwhile, they are not begun again. */
  readonly requestIds: Set<number>;
  readonly abort: AbortController;
}

export class Questions {
  readonly #store: Rangeable;
  readonly #owner: QuestionsOwner;
  readonly #asked = new Map<number, Asked>();
  readonly #answering = new Map<LinkHost, Answering>();
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
        let cancel: (() => void) | undefined;
        const forget = () => {
          this.#asked.delete(requestId);
          cancel?.();
        };
        const stop = (answer?: VerifyAnswer) => {
          forget();
          signal?.removeEventListener("abort", abort);
          if (answer !== undefined) resolve(answer);
          else reject(endedError());
        };
        const abort = () => {
          forget();
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
        this.#asked.set(requestId, { link, stop });
        const { clock } = this.#owner;
        // Messages may be lost; a question may be asked, and answered, twice.
        const send = () => {
          cancel = clock.setTimer(askAgainMs, send);
          link.input({ type: "verify", message: { ...message, requestId }, nowMs: clock.now() });
        };
        send();
      });
  }

  onMessage(link: LinkHost, message: VerifyMessage): void {
    if (message.kind === "ranges" || message.kind === "rows" || message.kind === "repair") {
      const asked = this.#asked.get(message.requestId);
      // Numbers are easily guessed: what another link says of this one's tables counts for nothing.
      if (asked?.link === link) asked.stop(message);
    } else {
      this.#answer(link, message);
    }
  }

  onEnded(link: LinkHost): void {
    for (const asked of [...this.#asked.values()]) if (asked.link === link) asked.stop();
    this.#answering.get(link)?.abort.abort(endedError());
    this.#answering.delete(link);
  }

  #answer(link: LinkHost, request: VerifyRequest): void {
    const { requestIds, abort } = this.#answeringTo(link);
    const { requestId } = request;
    if (requestIds.has(requestId) || requestIds.size >= answeringMax) return;
    if (request.kind === "repairRequest" && request.chunk.byteLength > 0 && link.gated) {
      const message = { ...outside, requestId };
      link.input({ type: "verify", message, nowMs: this.#owner.clock.now() });
      return;
    }
    requestIds.add(requestId);
    const { clock } = this.#owner;
    const onRepaired = (result: RepairResult) => this.#owner.onRepaired(result);
    answerVerify(this.#store, request, { clock, signal: abort.signal, onRepaired })
      .then((answer) => link.input({ type: "verify", message: answer, nowMs: clock.now() }))
      .catch((error: unknown) => {
        if (!(error instanceof ReplicaError)) throw error;
        if (abort.signal.aborted) return;
        if (!nonsense.has(error.code)) this.#owner.onError(error);
        else link.close("PROTOCOL_MALFORMED", error.message);
      })
      .finally(() => requestIds.delete(requestId));
  }

  #answeringTo(link: LinkHost): Answering {
    const known = this.#answering.get(link);
    if (known !== undefined) return known;
    const answering = { requestIds: new Set<number>(), abort: new AbortController() };
    this.#answering.set(link, answering);
    return answering;
  }
}

function endedError(): ReplicaError {
  return new ReplicaError("LINK_CLOSED", "the link ended before the answer came");
}
