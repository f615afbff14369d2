/** When the WAL is read, however often that is asked for. */
import { expect, test } from "vitest";
import { systemClock } from "../../../src/clock.ts";
import type { Capture, Captured } from "../../../src/ship/capture.ts";
import { CaptureLoop, type CaptureSource } from "../../../src/ship/capture-loop.ts";

/** A database whose WAL is read as slowly as a test likes. */
class SlowSource {
  looks = 0;
  note: (() => void) | undefined;
  #release: () => void = () => {};
  #gate: Promise<void> = Promise.resolve();

  hold(): void {
    this.#gate = new Promise((resolve) => {
      this.#release = resolve;
    });
  }
  release(): void {
    this.#release();
  }
  loop(): CaptureLoop {
    const nothing: Captured = { commits: 0, walBytes: 0 };
    const changes = async () => {
      this.looks++;
      await this.#gate;
      return nothing;
    };
    const capture = { state: { txid: 1 }, changes } as unknown as Capture;
    const watch = (_limits: unknown, onCommit: (hasMany: boolean) => void) => {
      this.note = () => onCommit(false);
    };
    const wal = { watch } as unknown as CaptureSource["wal"];
    const folder = {} as unknown as CaptureSource["folder"];
    const settings = { intervalMs: 0, pollMs: 60_000, retryMs: 1, clock: systemClock };
    const limits = { checkpointBytes: 65_536, walBytesMax: 2 ** 20 };
    const host = { took: () => {}, checkpointed: () => {}, failed: () => {}, gaveUp: () => {} };
    const start = async () => ({ capture, captured: nothing });
    const source = { file: "nowhere", folder, wal };
    return new CaptureLoop(source, { ...settings, ...limits }, { ...host, start });
  }
}

test("looks that wait for a slow one are one", async () => {
  const source = new SlowSource();
  const loop = source.loop();
  await loop.started();
  source.hold();
  const first = loop.captureNow();
  while (source.looks === 0) await new Promise((resolve) => setImmediate(resolve));
  const others = Array.from({ length: 50 }, () => loop.captureNow());
  for (let i = 0; i < 50; i++) {
    source.note?.();
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  source.release();
  await Promise.all([first, ...others]);
  loop.stop();
  // The one under way may have missed what the others were called for.
  expect(source.looks).toBe(2);
});
