/** A shipper's place in one storage: the lease on it, and whether anybody had it in between. */
import { randomUUID } from "node:crypto";
import { mkdir, readFile, stat } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import type { Clock } from "../clock.ts";
import { replaceFile } from "../durable.ts";
import { ReplicaError } from "../errors.ts";
import type { Storage, StorageCallOptions } from "../storage/storage.ts";
import { acquireLease, type Lease, type LeaseWait, unguardedLease } from "./lease.ts";
import type { LeaseState } from "./shipper-events.ts";
import { lockName } from "./state-folder.ts";

export interface PlaceOptions {
  /** The shipper's own folder, which nobody else may use meanwhile. */
  readonly folder: string;
  readonly clock: Clock;
  readonly leaseTtlMs: number;
  readonly unsafeNoLease: boolean;
  /** Keep it in idle hours, too. */
  readonly holdLease: boolean;
  /** Another one has it; told to who holds it in idle hours. */
  readonly onLost: (error: ReplicaError) => void;
  readonly onWait: (wait: LeaseWait) => void;
}

/** A shipper that lost its place may still have one file of so many transactions on its way. */
const transactionsSkipped = 1_000_000;

/** What the folder says of who shipped from it last. */
interface Owner {
  readonly format: 1;
  readonly holder: string;
  readonly host: string;
  /** Another one in a copy of the folder. */
  readonly mark: string;
  /** By the names of storages, the lease that was held there last. */
  readonly fences: Readonly<Record<string, number>>;
}

export class Place {
  readonly #storage: Storage;
  readonly #options: PlaceOptions;
  #lease: Lease | undefined;
  #isOurs = true;
  #isWaiting = false;
  #cancelRenewal = () => {};

  constructor(storage: Storage, options: PlaceOptions) {
    this.#storage = storage;
    this.#options = options;
  }

  /** 0 without a lease. */
  get fence(): number {
    return this.#lease?.fence ?? 0;
  }

  /** Whether nobody else has shipped there since this folder was last used for it. */
  get isOurs(): boolean {
    return this.#isOurs;
  }

  get isWaiting(): boolean {
    return this.#isWaiting;
  }

  get leaseState(): LeaseState {
    const lease = this.#lease;
    if (lease === undefined) return this.#isWaiting ? "waiting" : "none";
    const { aborted, reason } = lease.signal;
    if (aborted && reason instanceof ReplicaError && reason.code === "LEASE_LOST") return "lost";
    if (aborted || lease.fence === 0) return "none";
    return lease.leftMs > 0 ? "held" : "idle";
  }

  /** Transaction ids to leave out, for somebody who has lost the place may still use them. */
  get skipped(): number {
    return !this.#isOurs && this.#lease?.before === "expired" ? transactionsSkipped : 0;
  }

  /** Waits until the place is to be had. @throws STORAGE_UNSAFE */
  async take({ signal }: StorageCallOptions): Promise<void> {
    if (this.#lease !== undefined) return;
    const { folder, clock, leaseTtlMs: ttlMs, unsafeNoLease, onWait } = this.#options;
    if (unsafeNoLease) {
      this.#lease = unguardedLease();
      return;
    }
    const { holder, fences } = await claimFolder(folder);
    const wait = (held: LeaseWait) => {
      this.#isWaiting = true;
      onWait(held);
    };
    try {
      const options = { holder, ttlMs, clock, signal, onWait: wait };
      this.#lease = await acquireLease(this.#storage, options);
    } finally {
      this.#isWaiting = false;
    }
    if (this.#options.holdLease) this.#renewLater(this.#lease);
    const { previousFence } = this.#lease;
    this.#isOurs = previousFence === 0 || previousFence === fences[this.#storage.name];
  }

  /** To be called once it is on disk how shipping goes on, in view of `isOurs`. */
  async remember(): Promise<void> {
    if (this.fence === 0) return;
    const owner = await claimFolder(this.#options.folder);
    const fences = { ...owner.fences, [this.#storage.name]: this.fence };
    await writeOwner(this.#options.folder, { ...owner, fences });
  }

  /** Between what was put and saying so; and before, to put nothing in vain. @throws LEASE_LOST */
  async confirm(options: StorageCallOptions): Promise<void> {
    await this.#lease?.confirm(options);
  }

  async release(): Promise<void> {
    this.#cancelRenewal();
    await this.#lease?.release();
  }

  #renewLater(lease: Lease): void {
    const { clock, leaseTtlMs, onLost } = this.#options;
    this.#cancelRenewal = clock.setTimer(leaseTtlMs / 3, () => {
      lease.renew().then(
        () => this.#renewLater(lease),
        (error: unknown) => {
          if (error instanceof ReplicaError && error.code === "LEASE_LOST") onLost(error);
          else if (!lease.signal.aborted) this.#renewLater(lease);
        },
      );
    });
    if (lease.signal.aborted) this.#cancelRenewal();
  }
}

/**
 * The folder is locked: who shipped from it before is over, and was this very shipper, so its lease
 * is taken over at once. Of who shipped from a copy of it, or on another machine, that cannot be
 * said.
 */
async function claimFolder(folder: string): Promise<Owner> {
  const before = await readOwner(folder);
  const host = hostname();
  const mark = await markOf(folder);
  const isSame = mark !== "" && before?.mark === mark && before.host === host;
  const holder = isSame ? before.holder : randomUUID();
  const owner: Owner = { format: 1, holder, host, mark, fences: before?.fences ?? {} };
  await writeOwner(folder, owner);
  return owner;
}

/** Of the file that is locked. It is not opened: to close it again would give up the lock. */
async function markOf(folder: string): Promise<string> {
  const { ino, birthtimeMs } = await stat(join(folder, lockName)).catch(() => noFile);
  return ino === 0 ? "" : `${ino}-${birthtimeMs}`;
}

const noFile = { ino: 0, birthtimeMs: 0 };
const ownerName = "owner.json";

async function readOwner(folder: string): Promise<Owner | undefined> {
  const text = await readFile(join(folder, ownerName), "utf8").catch(() => "");
  try {
    const read: unknown = JSON.parse(text);
    if (typeof read !== "object" || read === null) return undefined;
    const { format, holder, host, mark, fences } = read as Partial<Owner>;
    const areTexts = [holder, host, mark].every((text) => typeof text === "string");
    if (format !== 1 || !areTexts || typeof fences !== "object") return undefined;
    return { format, holder: holder ?? "", host: host ?? "", mark: mark ?? "", fences };
  } catch {
    // Not there, or somebody else's: then nothing is known.
    return undefined;
  }
}

async function writeOwner(folder: string, owner: Owner): Promise<void> {
  await mkdir(folder, { recursive: true });
  await replaceFile(folder, ownerName, Buffer.from(`${JSON.stringify(owner)}\n`));
}
