/** What all storages share, on drivers and servers that fail as they are told to. */
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { createServer, type RequestListener, type Server, type ServerResponse } from "node:http";
import { afterEach, describe, expect, test } from "vitest";
import { signedHeaders } from "../../src/storage/aws-signature.ts";
import { azureStorage } from "../../src/storage/azure.ts";
import { bytesOf, type StorageDriver, unavailable } from "../../src/storage/driver.ts";
import { fileStorage } from "../../src/storage/file.ts";
import { gcsStorage } from "../../src/storage/gcs.ts";
import { ManagedStorage } from "../../src/storage/managed.ts";
import { openStorage } from "../../src/storage/open.ts";
import { probeConditions } from "../../src/storage/probe.ts";
import { s3Storage } from "../../src/storage/s3.ts";
import { webDavStorage } from "../../src/storage/webdav.ts";
import { temporaryFolder } from "../support/folder.ts";

const folder = temporaryFolder();
const fast = { pauseMs: 1, pauseMsMax: 2 };
const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (typeof address === "string" || address === null) throw new Error("no port");
  return `http://127.0.0.1:${address.port}`;
}

const credentials = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "secret" };
const s3At = (endpoint: string, options = {}) =>
  s3Storage({ bucket: "b", endpoint, credentials, ...fast, ...options });

/** A driver of which nothing works but what a test gives it. */
function driverOf(some: Partial<StorageDriver>): StorageDriver {
  const no = async () => {
    throw new Error("not expected");
  };
  const rest = { put: no, get: no, list: () => (async function* () {})(), delete: no };
  return {
    name: "test://",
    kind: "file",
    keepsMetadata: false,
    ...rest,
    close: async () => {},
    ...some,
  } as StorageDriver;
}

describe("retries", () => {
  test("go on through failures that pass, up to a number", async () => {
    let attempts = 0;
    const storage = new ManagedStorage(
      driverOf({
        put: async () => {
          if (++attempts < 4) throw unavailable("busy");
          return true;
        },
      }),
      { ...fast, attemptsMax: 4 },
    );
    await storage.put("a", Buffer.of(1));
    expect(attempts).toBe(4);
    attempts = -1;
    await expect(storage.put("a", Buffer.of(1))).rejects.toMatchObject({
      code: "STORAGE_UNAVAILABLE",
    });
    expect(attempts).toBe(3);
  });

  test("of a conditional put whose answer was lost know their own object", async () => {
    const there = new Map<string, Uint8Array>();
    let lost = 1;
    const storage = new ManagedStorage(
      driverOf({
        put: async (key, body) => {
          if (there.has(key)) return false;
          there.set(key, await bytesOf(body));
          if (lost-- > 0) throw unavailable("the answer was lost");
          return true;
        },
        get: async (key) => {
          const bytes = there.get(key) ?? new Uint8Array();
          const body = (async function* () {
            yield bytes;
          })();
          return { bytes: bytes.length, metadata: {}, version: "", body };
        },
      }),
      fast,
    );
    expect(await storage.putIfAbsent("a", Buffer.from("mine"))).toBe(true);
    expect(await storage.putIfAbsent("a", Buffer.from("other"))).toBe(false);
  });

  test("stop when the signal says so, also during a pause", async () => {
    const put = async () => {
      throw unavailable("busy");
    };
    const storage = new ManagedStorage(driverOf({ put }), { pauseMs: 60_000, random: () => 1 });
    const signal = AbortSignal.timeout(20);
    const call = storage.put("a", Buffer.of(1), { signal });
    await expect(call).rejects.toMatchObject({ name: "TimeoutError" });
  });
});

describe("over HTTP", () => {
  const object = randomBytes(3_000_000);

  test("many share a signal, which ends all of them", async () => {
    const warnings: unknown[] = [];
    const warn = (warning: unknown) => warnings.push(warning);
    process.on("warning", warn);
    const held: ServerResponse[] = [];
    const endpoint = await serve((_, response) => {
      response.writeHead(200, { "content-length": object.length, etag: "a" });
      response.write(object.subarray(0, 100_000));
      held.push(response);
    });
    const storage = s3At(endpoint);
    const stop = new AbortController();
    const { signal } = stop;
    const contents = await Promise.all(
      Array.from({ length: 30 }, () => storage.get("a", { signal })),
    );
    for (const response of held.slice(0, 10)) response.end(object.subarray(100_000));
    const whole = await Promise.all(contents.slice(0, 10).map(({ body }) => bytesOf(body)));
    expect(whole.map(({ length }) => length)).toEqual(Array(10).fill(object.length));
    const rest = contents.slice(10).map(({ body }) => bytesOf(body));
    const ended = rest.map((each) => expect(each).rejects.toThrow("enough"));
    stop.abort(new Error("enough"));
    await Promise.all(ended);
    await expect(storage.get("a", { signal })).rejects.toThrow("enough");
    await new Promise((resolve) => setImmediate(resolve));
    process.off("warning", warn);
    expect(warnings).toEqual([]);
    await storage.close();
  });

  test("a connection that breaks in the middle is made again where it broke", async () => {
    const asked: (string | undefined)[] = [];
    const endpoint = await serve((request, response) => {
      asked.push(request.headers.range);
      const start = Number(/bytes=(\d+)/.exec(request.headers.range ?? "")?.[1] ?? 0);
      const rest = object.subarray(start);
      response.writeHead(request.headers.range === undefined ? 200 : 206, {
        etag: '"1"',
        "content-length": rest.length,
        "content-range": `bytes ${start}-${object.length - 1}/${object.length}`,
      });
      response.write(rest.subarray(0, 1_000_000), () => {
        if (rest.length > 1_000_000) response.destroy();
        else response.end();
      });
    });
    const content = await s3At(endpoint).get("a");
    expect(Buffer.compare(await bytesOf(content.body), object)).toBe(0);
    expect(asked.length).toBeGreaterThanOrEqual(3);
  });

  test("an object that changes between two pieces is not mixed", async () => {
    let version = 0;
    const endpoint = await serve((_request, response) => {
      response.writeHead(200, { etag: `"${version++}"`, "content-length": object.length });
      response.write(object.subarray(0, 1000), () => response.destroy());
    });
    const content = await s3At(endpoint).get("a");
    await expect(bytesOf(content.body)).rejects.toMatchObject({ code: "STORAGE_FAILED" });
  });

  test("a server that is silent is given up", async () => {
    const endpoint = await serve(() => {});
    const storage = s3At(endpoint, { timeoutMs: 50, attemptsMax: 2 });
    const failed = { code: "STORAGE_UNAVAILABLE" };
    await expect(storage.get("a")).rejects.toMatchObject(failed);
    await expect(storage.put("a", Buffer.of(1))).rejects.toMatchObject(failed);
  });

  test("errors that pass are told from those that stay", async () => {
    const answers = [503, 429, 500, 200];
    const seen: number[] = [];
    const endpoint = await serve((_request, response) => {
      const status = answers.shift() ?? 403;
      seen.push(status);
      response.writeHead(status).end("<Error><Code>SomeCode</Code></Error>");
    });
    const storage = s3At(endpoint);
    await storage.put("a", Buffer.of(1));
    expect(seen).toEqual([503, 429, 500, 200]);
    const denied = { code: "STORAGE_DENIED", message: expect.stringContaining("SomeCode") };
    await expect(storage.put("a", Buffer.of(1))).rejects.toMatchObject(denied);
    expect(seen).toHaveLength(5);
  });

  test.each(["s3", "gcs", "azure", "webdav"])(
    "one that ignores ranges is told of: %s",
    async (kind) => {
      const object = randomBytes(1000);
      const endpoint = await serve((_request, response) => {
        response.writeHead(200, { "content-length": object.length }).end(object);
      });
      const open = {
        s3: () => s3At(endpoint),
        gcs: () => gcsStorage({ bucket: "b", token: async () => "token", endpoint, ...fast }),
        azure: () => azureStorage({ account: "a", container: "b", key: "a2V5", endpoint, ...fast }),
        webdav: () => webDavStorage({ url: endpoint, ...fast }),
      }[kind];
      const storage = open?.() ?? s3At(endpoint);
      const part = async (offset: number, length: number) =>
        await bytesOf((await storage.get("a", { range: { offset, length } })).body);
      const ignored = { code: "STORAGE_FAILED", message: expect.stringContaining("ranges") };
      await expect(part(0, 100)).rejects.toMatchObject(ignored);
      await expect(part(900, 200)).rejects.toMatchObject(ignored);
      expect(await part(0, 1000)).toEqual(object);
      await storage.close();
    },
  );

  test("a server that ignores conditions is found out", async () => {
    const endpoint = await serve((request, response) => {
      request.resume();
      response.writeHead(200).end();
    });
    const unsafe = { code: "STORAGE_UNSAFE" };
    await expect(probeConditions(s3At(endpoint))).rejects.toMatchObject(unsafe);
    await expect(probeConditions(fileStorage(folder.file()))).resolves.toBeUndefined();
  });
});

test("requests are signed as Amazon's example is", () => {
  const headers = signedHeaders(
    {
      method: "GET",
      url: new URL("https://examplebucket.s3.amazonaws.com/test.txt"),
      headers: { range: "bytes=0-9" },
      payload: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    },
    {
      credentials: {
        accessKeyId: "AKIAIOSFODNN7EXAMPLE",
        secretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
      },
      region: "us-east-1",
      nowMs: Date.UTC(2013, 4, 24),
    },
  );
  expect(headers.authorization).toContain(
    "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
  );
});

test("Google's storage gets a token for a key, and keeps it", async () => {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const requests: string[] = [];
  const endpoint = await serve((request, response) => {
    requests.push(`${request.method} ${request.url} ${request.headers.authorization ?? ""}`);
    request.resume();
    if (request.url === "/token") {
      response.end(JSON.stringify({ access_token: "granted", expires_in: 3600 }));
    } else {
      const isTaken = request.headers["x-goog-if-generation-match"] === "0";
      response.writeHead(isTaken ? 412 : 200).end();
    }
  });
  const key = {
    client_email: "backup@project.example",
    private_key: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    token_uri: `${endpoint}/token`,
  };
  const storage = gcsStorage({ bucket: "b", prefix: "p", key, endpoint });
  await storage.put("a", Buffer.of(1), { metadata: { fence: "1" } });
  expect(await storage.putIfAbsent("a", Buffer.of(2))).toBe(false);
  expect(requests).toEqual([
    "POST /token ",
    "PUT /b/p/a Bearer granted",
    "PUT /b/p/a Bearer granted",
  ]);
  await storage.close();
  await expect(storage.delete("a")).rejects.toMatchObject({ code: "CLOSED" });
});

describe("a storage's URL", () => {
  const env = {
    AWS_ACCESS_KEY_ID: "key",
    AWS_SECRET_ACCESS_KEY: "top-secret",
    AZURE_STORAGE_KEY: "a2V5",
  };
  test.each([
    ["file:///var/backup", "file", "file:///var/backup"],
    ["s3://bucket/a/b/?region=eu-west-1", "s3", "s3://bucket/a/b"],
    [
      "s3://bucket?endpoint=http://127.0.0.1:9000&path-style=true",
      "s3",
      "s3://bucket?endpoint=http://127.0.0.1:9000",
    ],
    ["s3://b/c?endpoint=https://key:hidden@host/s3/", "s3", "s3://b/c?endpoint=https://host/s3"],
    ["gs://bucket/a?endpoint=http://host", "gcs", "gs://bucket/a?endpoint=http://host"],
    ["abs://a@b/c?endpoint=http://host/a", "azure", "abs://a@b/c?endpoint=http://host/a"],
    ["gs://bucket/a", "gcs", "gs://bucket/a"],
    ["abs://account@container/a", "azure", "abs://account@container/a"],
    ["sftp://user:hidden@host:2222/srv/a", "sftp", "sftp://user@host:2222/srv/a"],
    ["sftp://other:hidden@host:22/srv/a", "sftp", "sftp://other@host/srv/a"],
    ["ftp://user:hidden@host:21/a", "ftp", "ftp://user@host/a/"],
    ["ftps://b%40c:hidden@host:990/a?implicit=true", "ftp", "ftps://b%40c@host/a/"],
    ["webdavs://user:hidden@host:8443/a/", "webdav", "webdavs://user@host:8443/a"],
    ["webdav://b%40c:hidden@host", "webdav", "webdav://b%40c@host"],
    ["webdav://host/a", "webdav", "webdav://host/a"],
  ])("%s", async (url, kind, name) => {
    const storage = await openStorage(url, { env });
    expect({ kind: storage.kind, name: storage.name }).toEqual({ kind, name });
    await storage.close();
  });

  test.each([
    "backup",
    "http://user:hidden@host/",
    "s3://bucket?endpiont=x",
    "s3://bucket?path-style=yes",
    "s3://bucket/a//b",
    "abs://container/a",
  ])("%s is refused", async (url) => {
    const error: unknown = await openStorage(url, { env }).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: "INVALID_OPTION" });
    expect(String(error)).not.toContain("hidden");
    await expect(openStorage("s3://bucket", { env: {} })).rejects.toThrow(/AWS_ACCESS_KEY_ID/);
  });
});
