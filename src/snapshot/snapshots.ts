/** Snapshots of a replica: on demand, by a schedule, and when it closes. One at a time. */

import { Cron } from "croner";
import { checkNames } from "../arguments.ts";
import { ReplicaError } from "../errors.ts";
import {
  makeSnapshot,
  type SnapshotOptions,
  type SnapshotResult,
  type SnapshotSource,
} from "./snapshot.ts";

export type SnapshotKind = "demand" | "scheduled" | "shutdown";

export interface BackupOptions {
  /** When, as a cron expression of five or six fields in local time. @default never by itself */
  readonly schedule?: string | undefined;
  /** Where to; `undefined` for not this time. An existing file is replaced. */
  readonly path: (kind: SnapshotKind) => string | undefined;
  /** Whether only the leader makes those of the schedule and at shutdown. @default "leader" */
  readonly only?: "leader" | "every" | undefined;
}

/** `path` is empty where it was the option `path` that failed. */
export type SnapshotEvent = { readonly kind: SnapshotKind; readonly path: string } & (
  | { readonly state: "started" }
  | { readonly state: "progress"; readonly percent: number }
  | { readonly state: "completed"; readonly bytes: number; readonly tookMs: number }
  | { readonly state: "failed"; readonly error: unknown }
);

export interface SnapshotsHost extends SnapshotSource {
  readonly isLeader: () => boolean;
  onEvent(event: SnapshotEvent): void;
}

export class Snapshots {
  readonly #host: SnapshotsHost;
  readonly #options: BackupOptions | undefined;
  readonly #cron: Cron | undefined;
  readonly #closing = new AbortController();
  #last: Promise<unknown> = Promise.resolve();
  #cancelTimer: (() => void) | undefined;
  #result: SnapshotResult | undefined;
  #completed = 0;
  #failed = 0;

  /** @throws INVALID_OPTION */
  constructor(host: SnapshotsHost, options: BackupOptions | undefined) {
    this.#host = host;
    this.#options = options;
    this.#cron = options?.schedule === undefined ? undefined : parseSchedule(options.schedule);
    this.#arm();
  }

  get counts(): {
    snapshots: number;
    snapshotFailures: number;
    lastSnapshot: SnapshotResult | null;
  } {
    return {
      snapshots: this.#completed,
      snapshotFailures: this.#failed,
      lastSnapshot: this.#result ?? null,
    };
  }

  /** @throws INVALID_OPTION when there is no path, and what {@link makeSnapshot} throws */
  async demand(path: string | undefined, options: SnapshotOptions = {}): Promise<SnapshotResult> {
    checkNames(options, ["signal", "onProgress", "check"]);
    const target = path ?? this.#pathOf("demand");
    if (target !== undefined) return this.#make("demand", target, options);
    throw new ReplicaError("INVALID_OPTION", "there is no path for the snapshot", {
      hint: "Pass one, or attach with the option backup.",
    });
  }

  /** The one when the replica closes, if one is due. */
  async atShutdown(signal: AbortSignal | undefined): Promise<SnapshotResult | undefined> {
    const path = this.#isOurs() ? this.#pathOf("shutdown") : undefined;
    return path === undefined ? undefined : this.#make("shutdown", path, { signal });
  }

  /** Stops what is being made. */
  async close(reason: unknown): Promise<void> {
    this.#cancelTimer?.();
    this.#closing.abort(reason);
    await this.#last;
  }

  #isOurs(): boolean {
    return this.#options?.only === "every" || this.#host.isLeader();
  }

  #arm(): void {
    const { clock } = this.#host;
    const nowMs = clock.now();
    const next = this.#cron?.nextRun(new Date(nowMs));
    if (next === undefined || next === null) return;
    this.#cancelTimer = clock.setTimer(next.getTime() - nowMs, () => {
      // A timer is cut to what it can count, and the clock may have been set back meanwhile.
      if (clock.now() >= next.getTime()) this.#onSchedule();
      if (!this.#closing.signal.aborted) this.#arm();
    });
  }

  #onSchedule(): void {
    if (!this.#isOurs()) return;
    const make = async () => {
      const path = this.#pathOf("scheduled");
      if (path !== undefined) await this.#make("scheduled", path, {});
    };
    // Told of by its event.
    make().catch(() => undefined);
  }

  #pathOf(kind: SnapshotKind): string | undefined {
    try {
      return this.#options?.path(kind);
    } catch (error) {
      this.#failed += 1;
      this.#host.onEvent({ kind, path: "", state: "failed", error });
      throw error;
    }
  }

  #make(kind: SnapshotKind, path: string, options: SnapshotOptions): Promise<SnapshotResult> {
    const made = this.#last.then(() => this.#makeNow(kind, path, options));
    this.#last = made.catch(() => undefined);
    return made;
  }

  async #makeNow(
    kind: SnapshotKind,
    path: string,
    { signal, onProgress, ...rest }: SnapshotOptions,
  ): Promise<SnapshotResult> {
    const tell = (event: SnapshotEvent) => this.#host.onEvent(event);
    const closing = this.#closing.signal;
    tell({ kind, path, state: "started" });
    try {
      const result = await makeSnapshot(this.#host, path, {
        ...rest,
        signal: signal === undefined ? closing : AbortSignal.any([closing, signal]),
        onProgress: (progress) => {
          onProgress?.(progress);
          tell({ kind, path, state: "progress", percent: progress.percent });
        },
      });
      this.#completed += 1;
      this.#result = result;
      tell({ kind, path, state: "completed", bytes: result.bytes, tookMs: result.tookMs });
      return result;
    } catch (error) {
      this.#failed += 1;
      tell({ kind, path, state: "failed", error });
      throw error;
    }
  }
}

function parseSchedule(schedule: string): Cron {
  try {
    return new Cron(schedule, { paused: true });
  } catch (error) {
    throw new ReplicaError("INVALID_OPTION", `not a schedule: ${JSON.stringify(schedule)}`, {
      cause: error,
      hint: 'A cron expression, for instance "0 1 * * *" for one o\'clock every night.',
    });
  }
}

/** @throws INVALID_OPTION */
export function checkBackupOptions(options: BackupOptions): void {
  const { schedule, path, only = "leader", ...unknown } = options;
  const [name] = Object.keys(unknown);
  const fault =
    name !== undefined
      ? `unknown option backup.${name}`
      : typeof path !== "function"
        ? "option backup.path must be a function"
        : only !== "leader" && only !== "every"
          ? 'option backup.only must be "leader" or "every"'
          : undefined;
  if (fault !== undefined) {
    throw new ReplicaError("INVALID_OPTION", fault, {
      hint: "The options of backup are schedule, path and only.",
    });
  }
  if (schedule !== undefined) parseSchedule(schedule);
}
