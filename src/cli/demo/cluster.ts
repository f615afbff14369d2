/** The demo's peers: one process each, started, told what to do, watched, and ended. */
import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { Failure } from "../failure.ts";
import type { Cell, FromPeer, Report, RowKey, ToPeer } from "./messages.ts";
import type { SqlValue } from "./values.ts";

const peerModule = fileURLToPath(new URL("./peer.js", import.meta.url));

export class PeerProcess {
  readonly index: number;
  readonly name: string;
  readonly file: string;
  report: Report | undefined;
  readonly #child: ChildProcess;
  readonly #waiters = new Map<FromPeer["type"], (message: FromPeer) => void>();
  #isClosed = false;

  constructor(
    { index, name, file }: { index: number; name: string; file: string },
    onFailure: (error: Failure) => void,
  ) {
    this.index = index;
    this.name = name;
    this.file = file;
    this.#child = fork(peerModule, [], {
      execArgv: [],
      serialization: "advanced",
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    this.#child.on("message", (message: FromPeer) => {
      if (message.type === "failed") onFailure(new Failure(`peer ${name}: ${message.message}`));
      if ("report" in message) this.report = message.report;
      if (message.type === "closed") this.#isClosed = true;
      this.#waiters.get(message.type)?.(message);
    });
    this.#child.on("error", (cause) => onFailure(new Failure(`peer ${name}`, { cause })));
    this.#child.on("exit", (code, by) => {
      if (!this.#isClosed) onFailure(new Failure(`peer ${name} ended early (${by ?? code})`));
    });
  }

  tell(message: ToPeer): void {
    if (this.#child.connected) this.#child.send(message);
  }

  async start(settings: { folder: string; seed: number; reserved: RowKey[] }): Promise<string> {
    const { index, name, file } = this;
    const ready = this.#next("ready");
    this.tell({ type: "start", index, name, file, ...settings });
    return (await ready).url;
  }

  async edit(cell: Cell): Promise<SqlValue> {
    const edited = this.#next("edited");
    this.tell({ type: "edit", cell });
    return (await edited).value;
  }

  /** Resolves when nothing more is written and the report says so. */
  async pause(): Promise<void> {
    const paused = this.#next("paused");
    this.tell({ type: "pause" });
    await paused;
  }

  async close(): Promise<void> {
    const closed = this.#next("closed");
    this.tell({ type: "close" });
    await closed;
  }

  /** At once: its copy is thrown away in any case. */
  async kill(): Promise<void> {
    this.#isClosed = true;
    const { exitCode, signalCode } = this.#child;
    if (exitCode !== null || signalCode !== null || this.#child.pid === undefined) return;
    const exited = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.kill("SIGKILL");
    await exited;
  }

  #next<Type extends FromPeer["type"]>(type: Type): Promise<FromPeer & { type: Type }> {
    return new Promise((resolve) => {
      this.#waiters.set(type, (message) => resolve(message as FromPeer & { type: Type }));
    });
  }
}

/** Changesets of others that this peer has not merged yet. */
export function behindOf(peer: PeerProcess, peers: readonly PeerProcess[]): number {
  const merged = new Map(peer.report?.merged);
  let behind = 0;
  for (const { report } of peers) {
    if (report !== undefined)
      behind += Math.max(report.sequence - (merged.get(report.peerId) ?? 0), 0);
  }
  return behind;
}

/** Groups of peers that reach each other; everyone else is cut off from them. */
export function cutNetwork(
  peers: readonly PeerProcess[],
  groups: readonly (readonly PeerProcess[])[],
): void {
  for (const group of groups) {
    const from = peers.filter((peer) => !group.includes(peer)).map((peer) => peer.index);
    for (const peer of group) peer.tell({ type: "cut", from });
  }
}

export function namePeer(index: number): string {
  return String.fromCharCode("A".charCodeAt(0) + index);
}
