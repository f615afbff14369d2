/** What `serveWal` gives: a database whose commits are sent to followers as they are made. */
import { randomBytes } from "node:crypto";
import { Change } from "../change.ts";
import { ReplicaError } from "../errors.ts";
import { Emitter, type Listener } from "../events.ts";
import { untilAborted } from "../on-abort.ts";
import { hangUp } from "../restore/live-conversation.ts";
import { encodePrimary, type Hello } from "../restore/live-protocol.ts";
import type { Captured } from "../ship/capture.ts";
import { type CaptureHost, CaptureLoop } from "../ship/capture-loop.ts";
import type { Position } from "../ship/position.ts";
import { type Sharing, sharingOf } from "../ship/sharing.ts";
import type { Shipper } from "../ship/shipper.ts";
import type { FailedEvent, RebaseEvent } from "../ship/shipper-events.ts";
import { type OpenedSource, openFolder, openSource, type ShipDatabase } from "../ship/source.ts";
import { startCapture } from "../ship/start.ts";
import type { Transport } from "../transport/transport.ts";
import { Feed } from "./feed.ts";
import { readServeWalOptions, type ServeWalOptions, type ServeWalSettings } from "./options.ts";
import { Runs } from "./runs.ts";
import { Session, type SessionHost } from "./session.ts";

export interface FollowerInfo {
  readonly name: string;
  /** What its copy shows; 0 for nothing yet. */
  readonly txid: number;
}

export interface WalServerEvents {
  /** A follower was let in; `txid` is what it has, 0 when it gets all pages. */
  follower: FollowerInfo;
  /** It has gone; `error` is absent when it went in good order. */
  left: FollowerInfo & { readonly error?: unknown };
  /** Pages were compared with what was sent of them, for the WAL alone did not tell. */
  rebase: RebaseEvent;
  /** Reading the WAL failed; it is tried again after `retryMs`, or with 0 not. */
  failed: Pick<FailedEvent, "error" | "retryMs">;
}

/** For listeners of other names to be refused. */
const walServerEventNames: Readonly<Record<keyof WalServerEvents, true>> = {
  follower: true,
  left: true,
  rebase: true,
  failed: true,
};

export interface WalServerMetrics {
  readonly followers: number;
  /** The newest transaction, and the newest that all followers show; 0 for none. */
  readonly txid: number;
  readonly shownTxid: number;
  /** Bytes that wait for slow followers. */
  readonly queuedBytes: number;
  readonly commits: number;
  readonly rebases: number;
  readonly checkpoints: number;
  readonly walBytes: number;
}

/** Commits are read less often while nobody follows, in ms. */
const idleIntervalMs = 1000;

export class WalServer {
  readonly #source: OpenedSource;
  readonly #settings: ServeWalSettings;
  readonly #sharing: Sharing | undefined;
  readonly #events = new Emitter<WalServerEvents>(walServerEventNames);
  readonly #loop: CaptureLoop;
  readonly #feed: Feed;
  readonly #sessions = new Map<Session, Promise<void>>();
  readonly #moved = new Change();
  #runs = new Runs([]);
  #failure: ReplicaError | undefined;
  readonly #ending = new AbortController();
  #closed: Promise<void> | undefined;
  #work = { commits: 0, rebases: 0, checkpoints: 0, walBytes: 0 };

  /** For `serveWal`. */
  constructor(source: OpenedSource, settings: ServeWalSettings, sharing: Sharing | undefined) {
    this.#source = source;
    this.#settings = settings;
    this.#sharing = sharing;
    sharing?.guests.add(this);
    const hasReaders = () => this.#feed.hasReaders;
    const loopSettings = {
      ...settings,
      watches: true,
      get intervalMs() {
        return hasReaders() ? settings.intervalMs : Math.max(settings.intervalMs, idleIntervalMs);
      },
    };
    const host: CaptureHost = {
      start: () => this.#start(),
      took: (captured) => this.#took(captured),
      checkpointed: () => this.#work.checkpoints++,
      failed: (error, retryMs) => this.#events.emit("failed", { error, retryMs }),
      gaveUp: (error) => {
        this.#failure = error;
        this.#events.emit("failed", { error, retryMs: 0 });
      },
    };
    this.#loop = new CaptureLoop(source, loopSettings, host, sharing?.loop);
    const took = (captured: Captured) => this.#took(captured);
    this.#feed = new Feed(this.#loop, source.folder, { bytesMax: settings.queueBytesMax, took });
    this.#loop.started().catch(() => {});
  }

  /** Why nothing will be sent; `undefined` while there is hope. */
  get failure(): ReplicaError | undefined {
    return this.#failure;
  }

  get followers(): readonly FollowerInfo[] {
    return this.#greeted().map(infoOf);
  }

  /**
   * Takes a connection over which a follower will speak. It must carry messages once and in order,
   * as WebSockets, TCP, TLS and pipes do, and who is let in is for its listener to say.
   */
  accept(transport: Transport): void {
    const { followersMax } = this.#settings;
    const isFull = this.#sessions.size >= followersMax;
    if (isFull || this.#closed !== undefined) {
      const why = isFull ? `it has ${followersMax} followers already` : "it is being closed";
      const error = new ReplicaError(isFull ? "TRANSPORT_OVERLOADED" : "CLOSED", why);
      void sendAway(transport, error);
      return;
    }
    const session = new Session(transport, this.#host());
    const running = session
      .run()
      .then(() => ({}))
      .catch((error: unknown) => ({ error }))
      .then((outcome) => {
        this.#sessions.delete(session);
        this.#moved.tell();
        this.#events.emit("left", { ...infoOf(session), ...outcome });
      });
    this.#sessions.set(session, running);
  }

  /**
   * Resolves when every commit made before the call is shown by every follower that is connected.
   * @throws CLOSED, SHIP_UNSUPPORTED, SQLITE, `signal.reason`
   */
  async flush({ signal }: { signal?: AbortSignal | undefined } = {}): Promise<Position> {
    const ending = this.#ending.signal;
    const either = signal === undefined ? ending : AbortSignal.any([signal, ending]);
    either.throwIfAborted();
    const { txid, timestampMs } = (await untilAborted(this.#loop.captureNow(), either)).state;
    for (;;) {
      either.throwIfAborted();
      if (this.#greeted().every(({ shownTxid }) => shownTxid >= txid)) return { txid, timestampMs };
      await this.#moved.next(either);
    }
  }

  metrics(): WalServerMetrics {
    const shown = this.#greeted().map(({ shownTxid }) => shownTxid);
    const txid = this.#loop.capture?.state.txid ?? 0;
    return {
      followers: shown.length,
      txid,
      shownTxid: shown.length === 0 ? 0 : Math.min(...shown),
      queuedBytes: this.#feed.bytes,
      ...this.#work,
    };
  }

  /** Calls `listener` for every event until the returned function is called. */
  on<Name extends keyof WalServerEvents>(
    name: Name,
    listener: Listener<WalServerEvents[Name]>,
    options: { signal?: AbortSignal | undefined } = {},
  ): () => void {
    return this.#events.on(name, listener, options);
  }

  /** Ends all connections and lets go of the database. Idempotent. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#ending.abort(new ReplicaError("CLOSED", "the primary is closed"));
    this.#loop.stop();
    this.#feed.end();
    for (const session of this.#sessions.keys()) void session.close();
    await Promise.all(this.#sessions.values());
    try {
      await this.#loop.letGo();
    } finally {
      this.#source.onClosed();
      this.#sharing?.guests.delete(this);
    }
  }

  async #start(): ReturnType<typeof startCapture> {
    const { folder, wal } = this.#source;
    await this.#source.claim();
    this.#runs = await Runs.read(folder.path);
    const nothing = { txid: 0, isOurs: true, skipped: 0 };
    const isGuest = this.#sharing !== undefined;
    const started = await startCapture({ folder, wal, isGuest }, this.#settings.clock, [nothing]);
    const source = randomBytes(8).toString("hex");
    await this.#runs.begin(folder.path, { source, after: started.after });
    // Whoever lacks them gets these pages from the database.
    for (const { name } of started.queue) await folder.removeFile(name);
    return started;
  }

  #took(captured: Captured): void {
    const { commits, rebased, walBytes } = captured;
    this.#work.commits += commits;
    this.#work.walBytes = walBytes;
    this.#feed.add(captured);
    if (rebased === undefined) return;
    this.#work.rebases++;
    this.#events.emit("rebase", rebased);
  }

  #host(): SessionHost {
    const { clock, heartbeatMs } = this.#settings;
    return {
      feed: this.#feed,
      clock,
      heartbeatMs,
      greet: (hello) => this.#greet(hello),
      newest: () => this.#loop.capture?.state.txid ?? 0,
      greeted: (session) => this.#events.emit("follower", infoOf(session)),
      moved: () => this.#moved.tell(),
    };
  }

  async #greet(hello: Hello): Promise<{ source: string; from: number; txid: number }> {
    // A shipper that waits for its place has not begun, perhaps for long.
    const reading = untilAborted(this.#loop.captureNow(), this.#ending.signal);
    const { txid } = (await reading).state;
    const isKnown = hello.txid > 0 && this.#runs.knows(hello, txid);
    return { source: this.#runs.source, from: isKnown ? hello.txid : 0, txid };
  }

  #greeted(): Session[] {
    return [...this.#sessions.keys()].filter(({ isGreeted }) => isGreeted);
  }
}

/**
 * Serves every commit of the database's file to followers, whoever commits: this connection,
 * others, other processes. Synchronous; connections are given to `accept`. As with `ship`, the file
 * must not be opened but through SQLite.
 *
 * @param db - a connection, or the shipper of the file: then both read it as one, which keeps its
 *   WAL as short as one of them does. Followers are served once the shipper has begun, and until it
 *   is closed; `checkpointBytes` and `walBytesMax` are the shipper's then.
 * @throws CLOSED, INVALID_OPTION, SHIP_ACTIVE, SHIP_UNSUPPORTED
 */
export function serveWal(db: ShipDatabase | Shipper, options: ServeWalOptions = {}): WalServer {
  const sharing = sharingOf(db);
  const settings = readServeWalOptions(options, { isShared: sharing !== undefined });
  const { stateDir } = settings;
  // What a loss of power takes from the folder, its runs tell from what followers have.
  const syncs = false;
  if (sharing === undefined) {
    const source = openSource(db as ShipDatabase, { stateDir, suffix: "-live", syncs });
    return new WalServer(source, settings, undefined);
  }
  if (sharing.isClosed()) throw new ReplicaError("CLOSED", "the shipper is closed");
  const { file, wal } = sharing.source;
  const folder = openFolder(wal, stateDir ?? `${file}-live`, { syncs });
  return new WalServer({ file, wal, ...folder }, settings, sharing);
}

function infoOf({ name, shownTxid }: Session): FollowerInfo {
  return { name, txid: shownTxid };
}

async function sendAway(transport: Transport, error: ReplicaError): Promise<void> {
  await transport.send(encodePrimary({ type: "bye", error })).catch(() => {});
  await hangUp(transport);
}
