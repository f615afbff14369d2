/** Replicas of a small database in memory or in a file, closed when their test is done. */
import Database from "better-sqlite3";
import { afterEach } from "vitest";
import { type AttachOptions, attach, type Replica } from "../../src/index.ts";
import { memoryPair } from "../../src/transport/memory.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

export interface Peer {
  readonly db: Database.Database;
  readonly replica: Replica;
  /** Inserts or replaces a row of `note`. */
  readonly write: (id: number, body?: unknown) => void;
  readonly close: () => Promise<void>;
}

export const noteSchema = "CREATE TABLE IF NOT EXISTS note (id INTEGER PRIMARY KEY, body)";

export function makePeer(options: AttachOptions & { file?: string; schema?: string } = {}): Peer {
  const { file = ":memory:", schema = noteSchema, ...rest } = options;
  const db = new Database(file);
  db.pragma("journal_mode = WAL");
  db.exec(schema);
  const replica = attach(db, { tables: ["note"], watchFile: false, ...rest });
  const close = async () => {
    await replica.close();
    db.close();
  };
  cleanups.push(() => (db.open ? close() : undefined));
  const insert = "INSERT OR REPLACE INTO note VALUES (?, ?)";
  return { db, replica, write: (id, body = "x") => void db.prepare(insert).run(id, body), close };
}

/** Links two peers once; the function ends it. */
export function join(left: Peer, right: Peer): () => Promise<void> {
  const [a, b] = memoryPair();
  right.replica.connect(b);
  const connection = left.replica.connect(a);
  return () => connection.close();
}

export async function converged(...peers: Peer[]): Promise<void> {
  for (const { replica } of peers) await replica.synced();
  for (const { replica } of peers) await replica.synced();
}
