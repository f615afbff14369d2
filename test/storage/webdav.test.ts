/** WebDAV against nginx. */
import { afterAll, describe, test } from "vitest";
import { webDavStorage } from "../../src/storage/webdav.ts";
import { webDavServer } from "../support/servers.ts";
import { describeStorage } from "../support/storage-suite.ts";

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
  });
}
