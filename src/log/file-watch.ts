/** Notices commits of other processes: they write the file's WAL, and the file system says so. */
import { existsSync, type FSWatcher, watch } from "node:fs";
import type { Clock } from "../clock.ts";

/** Events come for every write, our own too; looking once for many is enough. */
const settleMs = 2;
/** The WAL appears with the first write and goes with the last connection. */
const lookAgainMs = 1000;

export function watchCommits(file: string, clock: Clock, onCommit: () => void): () => void {
  let watcher: FSWatcher | undefined;
  let cancelTimer: (() => void) | undefined;
  let closed = false;

  const settle = () => {
    cancelTimer ??= clock.setTimer(settleMs, () => {
      cancelTimer = undefined;
      if (!closed) onCommit();
    });
  };
  const lookAgain = () => {
    watcher?.close();
    watcher = undefined;
    cancelTimer?.();
    cancelTimer = clock.setTimer(lookAgainMs, () => {
      cancelTimer = undefined;
      if (!closed) begin();
    });
  };
  const begin = () => {
    const wal = `${file}-wal`;
    if (!existsSync(wal)) return lookAgain();
    try {
      watcher = watch(wal, { persistent: false }, (event) => {
        if (event === "rename") lookAgain();
        else settle();
      });
      watcher.on("error", lookAgain);
    } catch {
      // No file watching here (some network file systems): other processes are seen when a link
      // speaks or this process writes.
      return;
    }
    settle();
  };

  begin();
  return () => {
    closed = true;
    watcher?.close();
    cancelTimer?.();
  };
}
