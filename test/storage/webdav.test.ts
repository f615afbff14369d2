/** WebDAV against nginx. */
import { join } from "node:path";
import { afterAll, describe, test } from "vitest";
import { webDavStorage } from "../../src/storage/webdav.ts";
import { describeNetwork } from "../support/network-suite.ts";
import { webDavServer } from "../support/servers.ts";
import { describeStorage, fillFolder } from "../support/storage-suite.ts";

const server = await webDavServer();
afterAll(() => server?.stop());
if (server === undefined) {
  describe.skip("webdav: nginx with dav-ext is not installed", () => test("is skipped", () => {}));
} else {
  const url = (prefix: string) => `http://127.0.0.1:${server.port}/${prefix}`;
  describeStorage("webdav", {
    open: (prefix) => webDavStorage({ url: url(prefix), username: "user", password: "pass" }),
    openDenied: (prefix) =>
      webDavStorage({ url: url(prefix), username: "user", password: "wrong" }),
    objects: 5000,
    fill: (prefix, keys) => fillFolder(join(server.folder, "data", prefix), keys),
    isThrownAway: true,
  });
  const login = { username: "user", password: "pass" };
  describeNetwork("webdav", {
    port: server.port,
    open: (port, options) =>
      webDavStorage({ url: `http://127.0.0.1:${port}/network`, ...login, ...options }),
  });
}
