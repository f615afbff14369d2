/** The change feed as an application sees it. */
import { checkNames } from "../arguments.ts";
import { ReplicaError } from "../errors.ts";
import type { Patch } from "../log/payload.ts";
import { Feed, type FeedOwner } from "./feed.ts";

/** What one transaction did, or a part of one. */
export interface Changeset {
  /** The peer that wrote it, and its number there. */
  readonly origin: number;
  readonly sequence: number;
  readonly token: string;
  /** Written on this file. */
  readonly local: boolean;
  /** Hybrid logical clock reading; orders changesets of all peers together with `origin`. */
  readonly timestamp: number;
  /** The same as wall time in ms; `undefined` for rows from before replication. */
  readonly wallMs: number | undefined;
  /** A large transaction comes in parts of about 1 MiB, one by one; this is not its last. */
  readonly continues: boolean;
  readonly patches: readonly Patch[];
  /** Where a reader goes on that has dealt with this changeset. */
  readonly cursor: string;
}

export interface ChangesOptions {
  /** A cursor; `"oldest"`, all that the log holds. @default from now on */
  readonly since?: string | undefined;
  /** Patches of these tables only. @default all */
  readonly tables?: readonly string[] | undefined;
  /** Integers are bigints, all of them. @default false: those beyond 53 bits */
  readonly safeIntegers?: boolean;
  /** Ends the feed; it rejects with `signal.reason`. */
  readonly signal?: AbortSignal | undefined;
}

/** `for await (const changeset of feed)`; one loop at a time. Waits for more at its end. */
export interface ChangeFeed extends AsyncIterableIterator<Changeset, undefined> {
  /** Behind what came last: with a filter by tables this may be further than its `cursor`. */
  readonly cursor: string;
}

/** @throws INVALID_OPTION, INVALID_CURSOR */
export function openFeed(owner: FeedOwner, options: ChangesOptions): ChangeFeed {
  checkOptions(options);
  const feed = new Feed(owner, options);
  const run = feed.run();
  return {
    get cursor() {
      return feed.cursor;
    },
    next: () => run.next(),
    return: () => {
      feed.stop();
      return run.return(undefined);
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

function checkOptions(options: ChangesOptions): void {
  checkNames(options, ["since", "tables", "safeIntegers", "signal"]);
  const { since, tables, safeIntegers } = options;
  if (since !== undefined && typeof since !== "string") throw invalid("since must be a cursor");
  if (tables !== undefined && !isListOfNames(tables)) {
    throw invalid("tables must be an array of table names");
  }
  if (safeIntegers !== undefined && typeof safeIntegers !== "boolean") {
    throw invalid("safeIntegers must be a boolean");
  }
}

function isListOfNames(tables: unknown): boolean {
  return Array.isArray(tables) && tables.every((name) => typeof name === "string");
}

function invalid(message: string): ReplicaError {
  return new ReplicaError("INVALID_OPTION", message, {
    hint: "See docs/changes.md.",
  });
}
