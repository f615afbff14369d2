/** What the addon exports for shipping: a WAL read on other threads. */
import type { Handle, NativeLock, WalAnswer, WalSource } from "./native-types.ts";

export interface WalBinding {
  /** @throws SHIP_UNSUPPORTED */
  walSource(handle: Handle): WalSource;
  /** Connects, and begins to hold a read transaction. Promises reject with what SQLite says. */
  walOpen(source: WalSource): Promise<WalAnswer>;
  /** Begins to hold a second one; `exact`: `end` is what it reads, else it may be later. */
  walNext(source: WalSource, exact: 0 | 1): Promise<WalAnswer>;
  /** Ends the older one, or the newer one. */
  walLetGo(source: WalSource, newer: 0 | 1): Promise<WalAnswer>;
  /** What is committed between two places; `before`: pages of the database at the first, or 0. */
  walScan(
    source: WalSource,
    before: number,
    place: Uint32Array,
    end: Uint32Array,
  ): Promise<WalAnswer>;
  /** Reads pages into `out`; `whole`: those of the database file, should the WAL begin anew. */
  walPages(
    source: WalSource,
    whole: 0 | 1,
    place: Uint32Array,
    pages: Uint32Array,
    frames: Uint32Array,
    out: Uint8Array,
  ): Promise<WalAnswer>;
  /**
   * A PASSIVE checkpoint; `moved`: the next writer may begin the WAL anew. What was committed behind
   * `place` up to `end` comes with `data`, for it may be gone. With a barrier of 1 writers are kept
   * out while the end is written back, with 2 all the while.
   */
  walCheckpoint(
    source: WalSource,
    barrier: number,
    place: Uint32Array,
    before: number,
  ): Promise<WalAnswer>;
  walClose(source: WalSource): Promise<WalAnswer>;
  /** Whether anybody may have committed since the last `walNext`; costs next to nothing. */
  walHasMoved(source: WalSource): boolean;
  /**
   * Calls back soon after a commit of this connection, once until `walNext`, and once more when the
   * WAL has `framesMany` frames more than then. From `framesMax` frames on it is given up.
   * @throws SHIP_ACTIVE
   */
  walWatch(
    handle: Handle,
    source: WalSource,
    framesMany: number,
    framesMax: number,
    callback: (hasMany: boolean) => void,
  ): void;
  walUnwatch(handle: Handle): void;
  /**
   * Takes a lock among processes, on a file that is made for it; `null`: somebody has it.
   * @throws SQLITE
   */
  lockFile(handle: Handle, path: string): NativeLock | null;
  unlockFile(lock: NativeLock): void;
}
