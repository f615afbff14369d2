/** What is called wrongly says so at once, and what would have been right. */
import { pathToFileURL } from "node:url";
import Database from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { listBackup, restore } from "../../src/backup/index.ts";
import { BackupKeeper } from "../../src/backup/keeper.ts";
import { httpEndpoint } from "../../src/http/index.ts";
import { attach, type Replica, ReplicaError } from "../../src/index.ts";
import { ship } from "../../src/ship/index.ts";
import { acquireLease } from "../../src/ship/lease.ts";
import {
  fileStorage,
  ftpStorage,
  openStorage,
  s3Storage,
  sftpStorage,
} from "../../src/storage/index.ts";
import { memoryPair } from "../../src/transport/memory.ts";
import { messagePortTransport } from "../../src/transport/message-port.ts";
import { listenTcp, tcpTransport } from "../../src/transport/tcp.ts";
import { listenWebSocket, webSocketTransport } from "../../src/transport/websocket.ts";
import { temporaryFolder } from "../support/folder.ts";

const folder = temporaryFolder();
let db: Database.Database;
let replica: Replica;

beforeEach(() => {
  db = new Database(":memory:");
  db.exec("CREATE TABLE note (id TEXT PRIMARY KEY NOT NULL, body ANY)");
  replica = attach(db, { tables: ["note"] });
});

afterEach(async () => {
  await replica.close();
  db.close();
});

const code = (name: string) => expect.objectContaining({ code: name });
/** As JavaScript may call it. */
const loose = <Result>(value: unknown) => value as Result;

describe("attach", () => {
  test.each([
    ["a path", "app.db", "not a string"],
    ["nothing", undefined, "not undefined"],
    ["something else", new Date(0), "not a Date"],
  ])("refuses %s", (_, value, why) => {
    expect(() => attach(loose(value))).toThrow(TypeError);
    expect(() => attach(loose(value))).toThrow(why);
  });

  test("refuses options that are none", () => {
    expect(() => attach(new Database(":memory:"), loose(null))).toThrow(code("INVALID_OPTION"));
    expect(() => attach(new Database(":memory:"), loose("note"))).toThrow("not a string");
  });

  test("gives no advice on drivers for a connection that is closed", () => {
    const closed = new Database(":memory:");
    closed.close();
    const error = { code: "EXTENSION_REFUSED", hint: "Attach a connection that is open." };
    expect(() => attach(closed)).toThrow(expect.objectContaining(error));
  });
});

describe("a replica", () => {
  test("connects to transports, not to URLs", () => {
    expect(() => replica.connect(loose("ws://127.0.0.1:1"))).toThrow("webSocketTransport");
    expect(() => replica.connect(loose({}))).toThrow(TypeError);
  });

  test("knows its events, and wants listeners that can be called", () => {
    expect(() => replica.on(loose<"merge">("merged"), () => undefined)).toThrow(
      /no event "merged".*merge/,
    );
    expect(() => replica.on("merge", loose(undefined))).toThrow(TypeError);
    const listener = loose<() => void>(undefined);
    expect(() => replica.watch("SELECT 1", [], listener)).toThrow(TypeError);
  });

  test("does not wait for ever because of an option that nobody reads", async () => {
    const options = loose<object>({ timeout: 50 });
    await expect(replica.wait("5.1", options)).rejects.toThrow(code("INVALID_OPTION"));
    await expect(replica.drain(options)).rejects.toThrow(code("INVALID_OPTION"));
    await expect(replica.synced(options)).rejects.toThrow(code("INVALID_OPTION"));
    await expect(replica.verify(options)).rejects.toThrow(code("INVALID_OPTION"));
    await expect(replica.wait(loose(undefined))).rejects.toThrow(code("INVALID_TOKEN"));
  });

  test("takes migrations and snapshots with options that it knows", async () => {
    const steps = loose<[]>([{ up: "SELECT 1", rename: {} }]);
    expect(() => replica.migrate(steps)).toThrow(code("INVALID_OPTION"));
    await expect(replica.snapshot(folder.file(), loose({ verify: false }))).rejects.toThrow(
      code("INVALID_OPTION"),
    );
  });

  test("says which column cannot be bound, and writes nothing", () => {
    for (const value of [{ a: 1 }, new Date(0), true]) {
      const row = loose<Record<string, string>>({ id: "1", body: value });
      expect(() => replica.upsert("note", row)).toThrow(code("INVALID_ROW"));
      expect(() => replica.upsert("note", row)).toThrow('"body"');
    }
    for (const [i, value] of [1, 2n, "text", null, new Uint8Array(2)].entries()) {
      replica.upsert("note", { id: `${i}`, body: value });
    }
    expect(db.prepare("SELECT count(*) FROM note").pluck().get()).toBe(5);
  });
});

describe("transports", () => {
  test("refuse addresses of another kind before anything is dialled", () => {
    expect(() => webSocketTransport("127.0.0.1:4100")).toThrow(TypeError);
    expect(() => webSocketTransport("localhost:4100")).toThrow(TypeError);
    expect(() => tcpTransport("ws://127.0.0.1:4100")).toThrow(TypeError);
  });

  test("refuse options they do not know, so that a misspelt authorize lets nobody in", async () => {
    const options = loose<object>({ authorise: () => false });
    const refused = code("INVALID_OPTION");
    expect(() => webSocketTransport("ws://127.0.0.1:1", loose({ header: {} }))).toThrow(refused);
    expect(() => httpEndpoint(() => undefined, options)).toThrow(refused);
    expect(() => memoryPair(loose({ bytes: 1 }))).toThrow(refused);
    expect(() => messagePortTransport(() => new MessageChannel().port1, options)).toThrow(refused);
    const address = { host: "127.0.0.1", port: 0 };
    const onTransport = () => undefined;
    await expect(listenWebSocket({ ...address, ...options }, onTransport)).rejects.toThrow(refused);
    await expect(listenTcp(address, onTransport, options)).rejects.toThrow(refused);
    await expect(listenWebSocket(address, loose(undefined))).rejects.toThrow(TypeError);
    await expect(listenWebSocket(loose("0.0.0.0:1"), onTransport)).rejects.toThrow(refused);
  });
});

describe("storages", () => {
  test("are opened before they are used", async () => {
    const url = "file:///nowhere";
    const wanted = /await openStorage/;
    expect(() => ship("app.db", loose(url))).toThrow(wanted);
    expect(() => ship("app.db", loose(openStorage(url)))).toThrow(wanted);
    await expect(restore(loose(url), "app.db")).rejects.toThrow(wanted);
    await expect(listBackup(loose(url))).rejects.toThrow(wanted);
  });

  test("have shippers that know their events", async () => {
    const storage = await openStorage(pathToFileURL(folder.path).href);
    const file = folder.file();
    expect(() => ship(file, storage)).toThrow(expect.objectContaining({ code: "SQLITE" }));
    expect(() => ship(file, storage)).toThrow(file);
    new Database(file).exec("CREATE TABLE t (x)").close();
    const shipper = ship(file, storage);
    expect(() => shipper.on(loose<"shipped">("ship"), () => undefined)).toThrow(/"ship".*shipped/);
    await shipper.close();
  });

  test("are not opened without what was asked for by a wrong name", async () => {
    const options = loose<object>({ encryptionKey: [new Uint8Array(32)] });
    const refused = code("INVALID_OPTION");
    await expect(openStorage("file:///nowhere", options)).rejects.toThrow(refused);
    expect(() => fileStorage("nowhere", options)).toThrow(refused);
    expect(() => ftpStorage(loose({ host: "h", user: "u" }))).toThrow(refused);
    expect(() => sftpStorage(loose({ host: "h", user: "u" }))).toThrow(refused);
    const bucket = { bucket: "b", credentials: { accessKeyId: "a", secretAccessKey: "s" } };
    expect(() => s3Storage(loose({ ...bucket, headers: {} }))).toThrow(refused);
    const storage = await openStorage("file:///nowhere", { timeoutMs: 5_000 });
    await expect(acquireLease(storage, loose({ ttl: 5_000 }))).rejects.toThrow(refused);
    await expect(BackupKeeper.open(storage, loose({ retention: 1 }))).rejects.toThrow(refused);
    await expect(restore(storage, "app.db", loose({ until: new Date(0) }))).rejects.toThrow(
      refused,
    );
  });

  test("take no database in memory, and say so with a code of ours", async () => {
    const storage = await openStorage("file:///nowhere");
    expect(() => ship(db, storage)).toThrow(ReplicaError);
    expect(() => ship(db, storage)).toThrow(code("SHIP_UNSUPPORTED"));
  });
});
