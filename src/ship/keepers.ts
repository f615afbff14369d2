/** How a shipper keeps its backups: a keeping for each storage, and what is told of them. */
import { resolve } from "node:path";
import type { TimedFile } from "../backup/levels.ts";
import { ReplicaError } from "../errors.ts";
import type { Emitter } from "../events.ts";
import type { BackupFile } from "../restore/chain.ts";
import { Keeping, type KeepingListener } from "./keeping.ts";
import type { ShipSettings } from "./options.ts";
import { Proofs } from "./proofs.ts";
import type { ShipperEvents, ShipperMetrics } from "./shipper-events.ts";
import type { StateFolder } from "./state-folder.ts";
import type { Target } from "./target.ts";

export interface KeepersSource {
  readonly folder: StateFolder;
  readonly settings: ShipSettings;
}

export interface KeepersHost {
  /** Of the database, in bytes. */
  databaseBytes(): number;
  /** Puts a snapshot of the database there. */
  mend(target: Target): Promise<void>;
}

export type KeepMetrics = Pick<
  ShipperMetrics,
  "compactions" | "prunedFiles" | "verifications" | "keepFailures" | "lastVerifiedMs"
>;

export class Keepers {
  readonly #events: Emitter<ShipperEvents>;
  readonly #proofs: Proofs;
  readonly #keepings = new Map<Target, Keeping>();
  #counts = { compactions: 0, prunedFiles: 0, verifications: 0, keepFailures: 0 };

  /** Of no targets at all where keeping is switched off. */
  constructor(
    targets: readonly Target[],
    { folder, settings }: KeepersSource,
    events: Emitter<ShipperEvents>,
    host: KeepersHost,
  ) {
    this.#events = events;
    this.#proofs = new Proofs(folder.path);
    const { clock, random, keep } = settings;
    if (keep === false) return;
    for (const target of targets) {
      const keeping = new Keeping(target.storage, target.place, {
        ...this.#listener(target.storage.name),
        clock,
        random,
        settings: keep,
        proofs: this.#proofs,
        folder: resolve(keep.verifyDir ?? folder.path),
        databaseBytes: () => host.databaseBytes(),
        mend: () => host.mend(target),
      });
      this.#keepings.set(target, keeping);
    }
  }

  looked(target: Target, files: readonly BackupFile[]): void {
    this.#keepings.get(target)?.look(files);
  }

  put(target: Target, file: TimedFile): void {
    this.#keepings.get(target)?.add(file);
  }

  /** Shipping goes on. */
  begin(): void {
    for (const keeping of this.#keepings.values()) keeping.begin();
  }

  /** What is due now; every storage has its turn, also after one that failed. */
  async tend(signal: AbortSignal | undefined): Promise<void> {
    const tended = await Promise.allSettled(
      [...this.#keepings.values()].map((keeping) => keeping.tend({ signal })),
    );
    for (const each of tended) if (each.status === "rejected") throw each.reason;
  }

  async close(): Promise<void> {
    const reason = new ReplicaError("CLOSED", "the shipper is closed");
    await Promise.all([...this.#keepings.values()].map((keeping) => keeping.close(reason)));
  }

  metrics(): KeepMetrics {
    const names = [...this.#keepings.keys()].map(({ storage }) => storage.name);
    const lastVerifiedMs = names.length === 0 ? 0 : this.#proofs.oldestMs(names);
    return { ...this.#counts, lastVerifiedMs };
  }

  /** Counts what happens, and says so. */
  #listener(storage: string): KeepingListener {
    return {
      compacted: ({ level, minTxid, maxTxid, bytes }, inputs) => {
        this.#counts.compactions++;
        const files = inputs.length;
        this.#events.emit("compacted", { storage, level, minTxid, maxTxid, bytes, files });
      },
      verified: ({ txid, timestampMs, checksum }) => {
        this.#counts.verifications++;
        this.#events.emit("verified", { storage, txid, timestampMs, checksum });
      },
      pruned: (files) => {
        this.#counts.prunedFiles += files.length;
        const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
        this.#events.emit("pruned", { storage, files: files.length, bytes });
      },
      failed: (error, retryMs) => {
        this.#counts.keepFailures++;
        this.#events.emit("failed", { task: "keep", storage, error, retryMs });
      },
    };
  }
}
