/** A process that stands still for longer than its lease lasts, at any moment of its work. */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { verifyBackup } from "../../src/backup/verify.ts";
import { listBackup } from "../../src/restore/inventory.ts";
import { fileStorage } from "../../src/storage/index.ts";
import { temporaryFolder } from "../support/folder.ts";
import { openWal, restored } from "../support/ship.ts";

const folder = temporaryFolder({ inMemory: true });
const program = fileURLToPath(new URL("lease-worker.mjs", import.meta.url));
const rounds = Number(process.env.LEASE_ROUNDS ?? 2);
const leaseTtlMs = 1000;

/** A shipping process, and what it has said. */
class Worker {
  readonly lines: string[] = [];
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;
  #told: () => void = () => {};

  constructor(file: string, place: string) {
    openWal(file).close();
    const args = [program, file, place, String(leaseTtlMs)];
    this.#child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
    this.#ended = once(this.#child, "exit");
    if (this.#child.stdout === null) throw new Error("no pipe");
    createInterface({ input: this.#child.stdout }).on("line", (line) => {
      this.lines.push(line);
      this.#told();
    });
  }

  /** What it has flushed: positions and digests. */
  get flushed(): [txid: number, digest: string][] {
    return this.lines
      .filter((line) => line !== "lost")
      .map((line) => {
        const [txid = "", digest = ""] = line.split(" ");
        return [Number(txid), digest];
      });
  }

  async says(count: number): Promise<void> {
    const until = this.lines.length + count;
    while (this.lines.length < until) {
      await new Promise<void>((resolve) => {
        this.#told = resolve;
      });
    }
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  async ends(): Promise<void> {
    await this.#ended;
    expect(this.#child.exitCode).toBe(0);
  }
}

test(
  "whoever takes over has the place, and the other one notices",
  async () => {
    for (let round = 0; round < rounds; round++) {
      const place = `${folder.file()}-backup`;
      const [file, other] = [folder.file(), folder.file()];
      const storage = fileStorage(place);
      const first = new Worker(file, place);
      await first.says(3);
      await new Promise((resolve) => setTimeout(resolve, 20 * Math.random()));
      first.signal("SIGSTOP");
      const second = new Worker(other, place);
      await second.says(3);
      const before = (await listBackup(storage)).length;
      first.signal("SIGCONT");
      await first.ends();
      expect(first.lines.at(-1)).toBe("lost");
      await second.says(3);
      expect((await listBackup(storage)).length).toBeGreaterThan(before);
      second.signal("SIGTERM");
      await second.ends();
      // The newest state is the second one's; all that either has flushed is there, as it was.
      const [head, digest] = second.flushed.at(-1) ?? [0, ""];
      const digestAt = async (txid?: number) =>
        createHash("sha256")
          .update(await restored(storage, `${file}.copy`, txid))
          .digest("hex");
      expect(await digestAt()).toBe(digest);
      expect(await verifyBackup(storage)).toMatchObject({ txid: head });
      for (const [txid, known] of [...first.flushed.slice(-3), ...second.flushed.slice(0, 3)]) {
        expect(await digestAt(txid), `position ${txid}`).toBe(known);
      }
    }
  },
  60_000 * rounds,
);
