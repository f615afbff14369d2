/** The commands by name. Each is loaded when it is asked for: help needs no native code. */
import type { Command } from "./command.ts";

const loaders: Readonly<Record<string, () => Promise<Command>>> = {
  init: async () => (await import("./init.ts")).init,
  serve: async () => (await import("./serve.ts")).serve,
  sync: async () => (await import("./sync.ts")).sync,
  status: async () => (await import("./status.ts")).status,
  log: async () => (await import("./log.ts")).log,
  verify: async () => (await import("./verify.ts")).verify,
  forget: async () => (await import("./forget.ts")).forget,
  detach: async () => (await import("./detach.ts")).detach,
  ship: async () => (await import("./ship.ts")).ship,
  restore: async () => (await import("./restore.ts")).restore,
  backups: async () => (await import("./backups.ts")).backups,
  check: async () => (await import("./check.ts")).check,
  follow: async () => (await import("./follow.ts")).follow,
  "serve-wal": async () => (await import("./serve-wal.ts")).serveWal,
  demo: async () => (await import("./demo.ts")).demo,
};

export const commandNames: readonly string[] = Object.keys(loaders);

export async function loadCommand(name: string): Promise<Command | undefined> {
  return Object.hasOwn(loaders, name) ? await loaders[name]?.() : undefined;
}
