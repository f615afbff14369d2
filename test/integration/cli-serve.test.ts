/** `mergelite serve`, and the commands that talk to it, as real processes. */
import { createServer } from "node:net";
import { afterEach, describe, expect, test, vi } from "vitest";
import {
  execute,
  fail,
  patienceMs,
  query,
  type Running,
  run,
  start,
  succeed,
} from "../support/cli.ts";
import { temporaryFolder } from "../support/folder.ts";

vi.setConfig({ testTimeout: patienceMs });

const folder = temporaryFolder();
const running: Running[] = [];

afterEach(async () => {
  for (const one of running) one.kill("SIGKILL");
  await Promise.all(running.splice(0).map((one) => one.finished));
});

async function replicated(rows = 0): Promise<string> {
  const file = folder.file();
  execute(file, "PRAGMA journal_mode = WAL; CREATE TABLE note (id TEXT PRIMARY KEY, body TEXT)");
  await succeed("init", file);
  for (let i = 0; i < rows; i++) {
    execute(file, `INSERT INTO note VALUES ('${file}-${i}', 'text ${i}')`);
  }
  return file;
}

/** A server and the URL it listens on. */
async function serve(file: string, ...args: string[]): Promise<{ server: Running; url: string }> {
  const server = start("serve", file, ...args);
  running.push(server);
  const [, url = ""] = await server.printed(/listening on (\S+)/);
  return { server, url };
}

interface Event {
  event: string;
  [name: string]: unknown;
}

function eventsOf(server: Running): Event[] {
  return server.stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Event);
}

describe.each(["127.0.0.1:0", "tcp://127.0.0.1:0"])("serve --listen %s", (address) => {
  test("sync and verify against it", async () => {
    const [left, right] = [await replicated(3), await replicated(2)];
    const { server, url } = await serve(left, "--listen", address);
    expect(url).toMatch(address.startsWith("tcp") ? /^tcp:/ : /^ws:/);
    const synced = JSON.parse(await succeed("sync", right, url, "--json")) as object;
    expect(synced).toMatchObject({
      other: url,
      received: { changesets: 3 },
      sent: { changesets: 2 },
    });
    expect(await succeed("verify", right, url)).toBe(
      "note  5  here  5  there\nidentical: 1 table, 5 rows\n",
    );
    expect(await succeed("verify", right, left)).toContain("identical: 1 table, 5 rows\n");
    server.kill("SIGTERM");
    expect(await server.finished).toMatchObject({ code: 0, stderr: "" });
    expect(server.stdout).toMatch(/ {2}stopped\n$/);
  });
});

test("a server relays between its peers, and sees what other processes write", async () => {
  const [hub, left, right] = [await replicated(), await replicated(), await replicated()];
  const { url } = await serve(hub, "--listen", "127.0.0.1:0");
  const leaves = [left, right].map((file) => start("serve", file, "--connect", url, "--json"));
  running.push(...leaves);
  for (const leaf of leaves) await leaf.printed(/"event":"link".*"live":true/);
  execute(left, "INSERT INTO note VALUES ('from another process', 'written beside the server')");
  await leaves[1]?.printed(/"event":"merge"/);
  expect(query(right, "SELECT id FROM note")).toEqual([["from another process"]]);
  expect(query(hub, "SELECT id FROM note")).toEqual([["from another process"]]);
  for (const leaf of leaves) leaf.kill("SIGINT");
  for (const leaf of leaves) expect(await leaf.finished).toMatchObject({ code: 0, stderr: "" });
  const [first] = leaves;
  expect(first && eventsOf(first).map(({ event }) => event)).toEqual([
    "start",
    "link",
    "stopping",
    "link",
    "stop",
  ]);
  expect(first && eventsOf(first).at(-1)).toMatchObject({ drained: true });
});

test("a peer that is away is dialled until it comes", async () => {
  const [left, right] = [await replicated(1), await replicated()];
  const { server, url } = await serve(left, "--listen", "127.0.0.1:0");
  server.kill("SIGTERM");
  await server.finished;
  const leaf = start("serve", right, "--connect", url);
  running.push(leaf);
  await leaf.printed(/cannot connect to .*ECONNREFUSED/);
  await serve(left, "--listen", new URL(url).host);
  await leaf.printed(/linked with peer \d+/);
  await leaf.printed(/merged 1 changeset, 1 patch\n/);
});

describe("the end of a server whose peer hangs", () => {
  /** A hub with a write that its peer, which is stopped, cannot acknowledge. */
  async function hub(): Promise<Running> {
    const [left, right] = [await replicated(), await replicated()];
    const { server, url } = await serve(left, "--listen", "127.0.0.1:0");
    const leaf = start("serve", right, "--connect", url);
    running.push(leaf);
    await leaf.printed(/linked with peer/);
    leaf.kill("SIGSTOP");
    execute(left, "INSERT INTO note VALUES ('late', 'late')");
    server.kill("SIGTERM");
    return server;
  }

  test("comes all the same, and is told", async () => {
    const server = await hub();
    expect(await server.finished).toMatchObject({ code: 0, stderr: "" });
    expect(server.stdout).toMatch(/stopped, and not every peer holds everything yet\n$/);
  });

  test("a second signal does not wait", async () => {
    const server = await hub();
    await server.printed(/stopping/);
    server.kill("SIGTERM");
    expect((await server.finished).code).toBe(143);
  });
});

describe("errors", () => {
  test("a port that is taken", async () => {
    const [left, right] = [await replicated(), await replicated()];
    const { url } = await serve(left, "--listen", "127.0.0.1:0");
    const stderr = (await run("serve", right, "--listen", new URL(url).host)).stderr;
    expect(stderr).toMatch(/^mergelite: listening.*EADDRINUSE.*\n$/);
    const { host } = new URL(url);
    expect((await run("serve", right, "--listen", `tcp://${host}`)).code).toBe(1);
  });

  test.each(["ws", "tcp"])("nobody listens: %s", async (scheme) => {
    const file = await replicated();
    for (const command of ["sync", "verify"]) {
      const stderr = await fail(1, command, file, `${scheme}://127.0.0.1:1`, "--timeout", "0.5");
      expect(stderr).toBe(
        `mergelite: ${scheme}://127.0.0.1:1 could not be reached within 0.5 s: ` +
          "connect ECONNREFUSED 127.0.0.1:1\n",
      );
    }
  });

  test("someone else listens", async () => {
    const file = await replicated();
    const web = createServer((socket) => {
      socket.on("error", () => undefined);
      socket.once("data", () => socket.end("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"));
    });
    await new Promise<void>((resolve) => web.listen(0, "127.0.0.1", resolve));
    const address = web.address();
    const port = typeof address === "object" ? address?.port : 0;
    const url = `127.0.0.1:${port}`;
    expect(await fail(1, "sync", file, `ws://${url}`, "--timeout", "1")).toContain("404");
    expect(await fail(1, "sync", file, `tcp://${url}`, "--timeout", "1")).toContain(
      "refused the link: ",
    );
    web.close();
  });

  test("another cluster", async () => {
    const [left, right] = [await replicated(), await replicated()];
    const { server, url } = await serve(left, "--listen", "127.0.0.1:0", "--cluster", "blue");
    for (const args of [["sync"], ["verify"], ["sync", "--cluster", "green"]]) {
      const [command = "", ...options] = args;
      const stderr = await fail(1, command, right, url, ...options);
      expect(stderr).toContain(`mergelite: ${url} refused the link: `);
      expect(stderr).toContain("CLUSTER_MISMATCH");
    }
    await succeed("sync", right, url, "--cluster", "blue");
    expect(server.stdout).toContain("(CLUSTER_MISMATCH)");
  });

  test("verify finds what differs on a running peer", async () => {
    const [left, right] = [await replicated(2), await replicated()];
    await succeed("sync", left, right);
    // What nobody may do: a change that bypasses capture.
    const trigger = query(
      right,
      "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND name LIKE '%update%'",
    ) as [string, string][];
    const drop = trigger.map(([name]) => `DROP TRIGGER "${name}";`).join(" ");
    const create = trigger.map(([, sql]) => `${sql};`).join(" ");
    execute(right, `BEGIN; ${drop} UPDATE note SET body = 'other'; ${create} COMMIT;`);
    const { url } = await serve(left, "--listen", "127.0.0.1:0");
    const { code, stdout } = await run("verify", right, url);
    expect(code).toBe(1);
    expect(stdout).toContain("different: 2 differences\n");
    expect(stdout.match(/^ {2}note .*differs$/gm)).toHaveLength(2);
  });
});
