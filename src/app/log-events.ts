/** What a replica tells its listeners, as lines of a log: for a logger, or with NODE_DEBUG. */
import { debuglog, inspect } from "node:util";
import type { Emitter } from "../events.ts";
import type { Logger } from "../options.ts";
import type { ReplicaEvents } from "../replica-events.ts";

type Level = keyof Logger;
type Line = readonly [level: Level, message: string];

/** How each event reads; an event that is not a line of its own is left out. */
const lineOf: { readonly [Name in keyof ReplicaEvents]: (event: ReplicaEvents[Name]) => Line } = {
  commit: () => ["debug", "committed"],
  merge: () => ["debug", "merged"],
  state: ({ done }) => ["info", done ? "rows transferred" : "rows are being transferred"],
  verify: ({ differences }) =>
    differences === 0 ? ["info", "equal to a peer"] : ["warn", "differs from a peer"],
  link: ({ live }) => ["info", live ? "linked" : "link ended"],
  dial: () => ["warn", "could not connect"],
  refused: () => ["warn", "a changeset was refused"],
  conflict: () => ["warn", "conflict"],
  conflicts: () => ["warn", "more conflicts than are told one by one"],
  resolved: () => ["info", "conflict resolved"],
  collision: () => ["warn", "two peers inserted one key"],
  leader: ({ leader }) => ["info", leader ? "leads" : "another peer leads"],
  identity: () => ["warn", "took a new peer id"],
  membership: ({ member }) => (member ? ["info", "let in"] : ["warn", "stands outside the floor"]),
  snapshot: (event) => snapshotLine(event.state),
  clock: ({ ok }) => (ok ? ["info", "clock is right again"] : ["warn", "clock is wrong"]),
  error: () => ["error", "error"],
};

function snapshotLine(state: ReplicaEvents["snapshot"]["state"]): Line {
  if (state === "failed") return ["error", "a snapshot failed"];
  return [state === "progress" ? "debug" : "info", `snapshot ${state}`];
}

/** Fields that hold what users wrote. It is not for logs. */
const userFields: ReadonlySet<string> = new Set(["key", "values", "detail"]);

/** The logger that NODE_DEBUG=mergelite asks for, if it does. */
export function debugLogger(): Logger | undefined {
  const print = debuglog("mergelite");
  if (!print.enabled) return undefined;
  const line = (level: Level) => (fields: object, message: string) =>
    print("%s %s %s", level, message, inspect(fields, { breakLength: Infinity }));
  return { debug: line("debug"), info: line("info"), warn: line("warn"), error: line("error") };
}

export function logEvents(
  events: Emitter<ReplicaEvents>,
  logger: Logger,
  replica: { readonly peerId: number },
): void {
  for (const name of Object.keys(lineOf) as (keyof ReplicaEvents)[]) {
    logEvent(events, name, { logger, replica });
  }
}

function logEvent<Name extends keyof ReplicaEvents>(
  events: Emitter<ReplicaEvents>,
  name: Name,
  { logger, replica }: { logger: Logger; replica: { readonly peerId: number } },
): void {
  events.on(name, (event) => {
    const [level, message] = lineOf[name](event);
    logger[level]({ replica: replica.peerId, event: name, ...fieldsOf(event) }, message);
  });
}

/** As a logger likes them: an error is `err`, and nothing is secret. */
function fieldsOf(event: object): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(event)) {
    if (userFields.has(name)) continue;
    if (value instanceof Error) fields.err = withoutSecrets(value);
    else fields[name] = typeof value === "string" ? withoutCredentials(value) : value;
  }
  return fields;
}

function withoutSecrets(error: Error): object {
  const message = withoutCredentials(error.message);
  const code = "code" in error ? { code: error.code } : {};
  const cause = error.cause instanceof Error ? { cause: withoutSecrets(error.cause) } : {};
  return { type: error.name, message, ...code, ...cause };
}

/** Addresses keep neither user and password nor a query, where tokens are. */
export function withoutCredentials(text: string): string {
  return text
    .replace(/([a-z][a-z0-9+.-]*:\/\/)[^/?#\s"'@]*@/gi, "$1")
    .replace(/([a-z][a-z0-9+.-]*:\/\/[^?#\s"']*)\?[^#\s"']*/gi, "$1?...");
}
