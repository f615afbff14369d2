import { describe, expect, it } from "vitest";
import { combineTokens } from "../../src/index.ts";
import { Store } from "../../src/log/store.ts";
import { memoryPair } from "../../src/transport/memory.ts";
import { temporaryFolder } from "../support/folder.ts";
import { join, makePeer, type Peer } from "../support/peer.ts";

const folder = temporaryFolder();
const write = ({ db }: Peer) => db.prepare("INSERT INTO note DEFAULT VALUES").run();
const soon = () => ({ signal: AbortSignal.timeout(100) });

describe("drain", () => {
  it("waits for as many of the known peers as it was told", async () => {
    const [writer, ...peers] = Array.from({ length: 5 }, () => makePeer());
    if (writer === undefined) throw new TypeError("no peers");
    const ends = peers.map((peer) => join(writer, peer));
    await writer.replica.synced();
    write(writer);
    await writer.replica.drain({ peers: "all" });
    await Promise.all(ends.slice(1).map((end) => end()));
    // What they have said they hold stays true when they have gone.
    await writer.replica.drain({ peers: "all" });
    write(writer);
    await writer.replica.drain();
    await writer.replica.drain({ peers: 1 });
    await expect(writer.replica.drain({ peers: "majority", ...soon() })).rejects.toThrow();
    const [, second, third] = peers as [Peer, Peer, Peer];
    join(writer, second);
    await writer.replica.drain({ peers: "majority" });
    await expect(writer.replica.drain({ peers: 3, ...soon() })).rejects.toThrow();
    join(writer, third);
    await writer.replica.drain({ peers: 3 });
    await expect(writer.replica.drain({ peers: "all", ...soon() })).rejects.toThrow();
  });

  it("counts nothing of a former id when another process has given the file a new one", async () => {
    const file = folder.file();
    const [writer, other, peer] = [makePeer({ file }), makePeer({ file }), makePeer()];
    join(writer, peer);
    await writer.replica.synced();
    for (let i = 0; i < 3; i++) write(writer);
    await writer.replica.drain();
    const former = writer.replica.peerId;
    const renewed = new Promise((resolve) => writer.replica.once("identity", resolve));
    new Store(other.db).reissue(3);
    write(writer);
    await renewed;
    // The link was one of the former id.
    join(writer, peer);
    await writer.replica.drain();
    expect(writer.replica.peerId).not.toBe(former);
    expect(peer.db.prepare("SELECT count(*) FROM note").pluck().get()).toBe(4);
    // What it has said under the new id stays true when it has gone.
    await peer.close();
    await writer.replica.drain({ peers: 1 });
  });

  it("refuses what is not a number of peers", async () => {
    const { replica } = makePeer();
    const peers = "most" as "all";
    await expect(replica.drain({ peers })).rejects.toMatchObject({ code: "INVALID_OPTION" });
  });
});

describe("synced", () => {
  it("rejects when the database is closed first", async () => {
    const { db, replica } = makePeer();
    const [silent, transport] = memoryPair();
    const connection = replica.connect(transport);
    const synced = expect(replica.synced()).rejects.toMatchObject({ code: "CLOSED" });
    db.close();
    await silent.close?.();
    await connection.closed;
    await synced;
    await replica.close();
  });
});

describe("a combined token", () => {
  it("waits for all of its writes, and for peers nobody has heard of", async () => {
    const [a, b, reader] = [makePeer(), makePeer(), makePeer()];
    write(a);
    b.db.prepare("INSERT INTO note VALUES (77, NULL)").run();
    const token = combineTokens(a.replica.token(), b.replica.token());
    join(a, reader);
    await reader.replica.wait(a.replica.token());
    await expect(reader.replica.wait(token, soon())).rejects.toThrow();
    join(b, reader);
    await reader.replica.wait(token);
    expect(reader.db.prepare("SELECT count(*) FROM note").pluck().get()).toBe(2);
    const unknown = combineTokens(token, "12345.1");
    await expect(reader.replica.wait(unknown, soon())).rejects.toThrow();
  });
});
