/** What `mergelite serve` tells while it runs: lines for people, or JSON lines. */
import type { Clock } from "../clock.ts";
import type { Replica } from "../index.ts";
import { reasonOf } from "./linked.ts";
import { type Output, plural } from "./output.ts";

/** Merging happens in slices of milliseconds; nobody reads a line for each. */
const mergeReportMs = 1_000;

export class ServeReport {
  readonly #replica: Replica;
  readonly #output: Output;
  readonly #clock: Clock;
  readonly #json: boolean;
  readonly #dialReasons = new Map<string, string>();
  #merged = { changesets: 0, patches: 0, lost: 0, parked: 0 };
  #isMergeDue = false;

  constructor(
    replica: Replica,
    { output, clock, json }: { output: Output; clock: Clock; json: boolean },
  ) {
    this.#replica = replica;
    this.#output = output;
    this.#clock = clock;
    this.#json = json;
  }

  started(file: string): void {
    const { peerId } = this.#replica;
    const tables = this.#replica.tables();
    this.#tell(
      "start",
      { file, peerId, tables },
      `peer ${peerId}, ${plural(tables.length, "table")} of ${file}`,
    );
    this.#replica.on("link", (link) => this.#onLink(link));
    this.#replica.on("dial", ({ name, error }) => this.#onDial(name, reasonOf(error)));
    this.#replica.on("merge", (slice) => this.#onMerge(slice));
    this.#replica.on("refused", (refused) => {
      const token = `${refused.origin}.${refused.sequence}`;
      this.#tell("refused", refused, `changeset ${token} was refused: ${refused.reason}`);
    });
    this.#replica.on("identity", (event) => {
      this.#tell(
        "identity",
        event,
        `this file is a copy, or lost commits: now peer ${event.peerId}`,
      );
    });
    this.#replica.on("error", ({ error }) => {
      this.#tell("error", { code: error.code, message: error.message }, `error: ${error.message}`);
    });
  }

  listening(url: string): void {
    this.#tell("listening", { url }, `listening on ${url}`);
  }

  metrics(url: string): void {
    this.#tell("metrics", { url }, `metrics at ${url}`);
  }

  stopping(): void {
    this.#tellMerged();
    this.#tell("stopping", {}, "stopping");
  }

  stopped(isDrained: boolean): void {
    this.#tellMerged();
    const detail = isDrained ? "" : ", and not every peer holds everything yet";
    this.#tell("stop", { drained: isDrained }, `stopped${detail}`);
  }

  #onLink(link: {
    peerId: number;
    name: string;
    live: boolean;
    code?: string;
    text?: string;
  }): void {
    const { peerId, name, live, code, text } = link;
    this.#tellMerged();
    if (live) {
      this.#dialReasons.delete(name);
      this.#tell("link", link, `linked with peer ${peerId}, ${name}`);
      return;
    }
    const peer = peerId === 0 ? name : `peer ${peerId}, ${name}`;
    const why = code === "LINK_CLOSED" ? "" : `: ${text} (${code})`;
    this.#tell("link", link, `link ended with ${peer}${why}`);
  }

  /** A peer that is away is dialled again and again, and told once. */
  #onDial(name: string, reason: string): void {
    if (this.#dialReasons.get(name) === reason) return;
    this.#dialReasons.set(name, reason);
    this.#tell("dial", { name, reason }, `cannot connect to ${name}: ${reason}; trying again`);
  }

  #onMerge(slice: { changesets: number; patches: number; lost: number; parked: number }): void {
    this.#merged.changesets += slice.changesets;
    this.#merged.patches += slice.patches;
    this.#merged.lost += slice.lost;
    this.#merged.parked += slice.parked;
    if (this.#isMergeDue) return;
    this.#isMergeDue = true;
    this.#clock.setTimer(mergeReportMs, () => this.#tellMerged());
  }

  #tellMerged(): void {
    this.#isMergeDue = false;
    const merged = this.#merged;
    if (merged.changesets === 0) return;
    this.#merged = { changesets: 0, patches: 0, lost: 0, parked: 0 };
    const patches = plural(merged.patches, "patch", "patches");
    const parked = merged.parked > 0 ? `, ${merged.parked} parked` : "";
    this.#tell(
      "merge",
      merged,
      `merged ${plural(merged.changesets, "changeset")}, ${patches}${parked}`,
    );
  }

  #tell(event: string, data: object, text: string): void {
    const time = new Date(this.#clock.now()).toISOString();
    if (this.#json) this.#output.json({ event, time, ...data });
    else this.#output.line(`${this.#output.paint("dim", time)}  ${text}`);
  }
}
