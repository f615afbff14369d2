/** Every kind of address the command line takes, with certificates, tokens, and over pipes. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { makeAuthority } from "../support/certificates.ts";
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

const pem = (name: string) => join(folder.path, `${name}.pem`);

beforeAll(() => {
  const authority = makeAuthority("ours");
  writeFileSync(pem("ca"), authority.ca);
  for (const name of ["server", "client"]) {
    const { cert, key } = authority.issue(name);
    writeFileSync(pem(name), cert);
    writeFileSync(pem(`${name}-key`), key);
  }
});

const certificateOf = (name: string) => ["--cert", pem(name), "--key", pem(`${name}-key`)];
const trust = ["--ca", pem("ca")];
const token = ["--token", "secret"];

async function replicated(rows = 0): Promise<string> {
  const file = folder.file();
  execute(file, "PRAGMA journal_mode = WAL; CREATE TABLE note (id TEXT PRIMARY KEY, body TEXT)");
  await succeed("init", file);
  for (let i = 0; i < rows; i++) execute(file, `INSERT INTO note VALUES ('${file}-${i}', 'text')`);
  return file;
}

async function serve(file: string, ...args: string[]): Promise<string> {
  const server = start("serve", file, ...args);
  running.push(server);
  const [, url = ""] = await server.printed(/listening on (\S+)/);
  return url;
}

describe.each([
  { scheme: "http", here: token, there: token },
  { scheme: "ws", here: token, there: token },
  { scheme: "https", here: [...trust, ...token], there: [...certificateOf("server"), ...token] },
  { scheme: "wss", here: trust, there: certificateOf("server") },
  {
    scheme: "tls",
    here: [...trust, ...certificateOf("client")],
    there: [...certificateOf("server"), ...trust],
  },
  { scheme: "udp", here: [], there: [] },
])("$scheme:// with $there", ({ scheme, here, there }) => {
  test("sync and verify", async () => {
    const [left, right] = [await replicated(2), await replicated(1)];
    const url = await serve(left, "--listen", `${scheme}://127.0.0.1:0`, ...there);
    expect(url.startsWith(`${scheme}://127.0.0.1:`)).toBe(true);
    const synced = JSON.parse(await succeed("sync", right, url, "--json", ...here)) as object;
    expect(synced).toMatchObject({ received: { changesets: 2 }, sent: { changesets: 1 } });
    expect(await succeed("verify", right, url, ...here)).toContain("identical: 1 table, 3 rows");
    if (here.length === 0) return;
    const stderr = await fail(1, "sync", right, url, "--timeout", "0.5");
    if (there.includes("--token") && scheme !== "https") {
      expect(stderr).toContain("does not let this peer in");
    }
  });
});

test("a client keeps its link with certificates and a token", async () => {
  const [left, right] = [await replicated(1), await replicated()];
  const url = await serve(
    left,
    ...["--listen", "https://127.0.0.1:0", ...certificateOf("server"), ...token],
  );
  const client = start("serve", right, "--connect", url, ...trust, ...token);
  running.push(client);
  await client.printed(/linked with peer/);
  await client.printed(/merged 1 changeset/);
  expect(query(right, "SELECT count(*) FROM note")).toEqual([[1]]);
});

describe("sync --exec", () => {
  const main = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
  const command = (file: string, ...args: string[]) =>
    [process.execPath, main, "serve", file, "--stdio", ...args].map((arg) => `'${arg}'`).join(" ");

  test("talks to a peer that it starts", async () => {
    const [left, right] = [await replicated(2), await replicated(1)];
    const synced = await succeed("sync", right, "--exec", command(left));
    expect(synced).toMatch(/^received {2}2 changesets, 2 patches\nsent {6}1 changeset\nin sync/);
    expect(await succeed("verify", right, left)).toContain("identical: 1 table, 3 rows\n");
  });

  test("tells what is wrong", async () => {
    const [left, right] = [await replicated(), await replicated()];
    const timeout = ["--timeout", "1"];
    expect(await fail(1, "sync", right, "--exec", "sh -c 'exit 7'", ...timeout)).toContain(
      "exec:sh -c exit 7 ended with code 7",
    );
    const cluster = command(left, "--cluster", "blue");
    expect(await fail(1, "sync", right, "--exec", cluster)).toContain("CLUSTER_MISMATCH");
    const { stderr, code } = await run("sync", right, "--exec", command("/no/such"), ...timeout);
    expect(code).toBe(1);
    expect(stderr).toContain("mergelite: /no/such does not exist\n");
  });
});

describe("wrong usage", () => {
  test.each([
    [["sync", "FILE"], "name one other side"],
    [["sync", "FILE", "tls://localhost"], "not a peer's URL"],
    [["sync", "FILE", "tcp://localhost:1", "--token", "x"], "tcp:// carries no token"],
    [["serve", "FILE", "--listen", "tls://127.0.0.1:0"], "tls:// needs --cert and --key"],
    [["sync", "FILE", "ws://localhost:1", "--token", "tok\r"], "the token is not printable"],
    [["serve", "FILE", "--stdio", "--listen", "127.0.0.1:0"], "--stdio stands alone"],
    [["serve", "FILE", "--listen", "127.0.0.1:0", "--cert", pem("ca")], "belong together"],
  ])("%j", async (args, text) => {
    const file = folder.file();
    const replaced = args.map((arg) => (arg === "FILE" ? file : arg));
    expect(await fail(2, ...replaced)).toContain(text);
  });

  test("a file that is not there", async () => {
    const file = await replicated();
    const stderr = await fail(1, "sync", file, "wss://localhost", "--ca", "/no/such/file");
    expect(stderr).toContain("--ca: ENOENT");
  });
});
