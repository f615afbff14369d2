/** SFTP against OpenSSH. */
import { spawnSync } from "node:child_process";
import { afterAll, describe, expect, test } from "vitest";
import { sftpStorage } from "../../src/storage/sftp.ts";
import { describeNetwork } from "../support/network-suite.ts";
import { sftpServer } from "../support/servers.ts";
import { describeStorage, fillFolder } from "../support/storage-suite.ts";

const server = await sftpServer();
afterAll(() => server?.stop());
if (server === undefined) {
  describe.skip("sftp: sshd is not installed, or this is not root", () =>
    test("is skipped", () => {}));
} else {
  const { port, privateKey, folder } = server;
  const options = { host: "127.0.0.1", port, username: "root", privateKey };
  describeStorage("sftp", {
    open: (prefix) => sftpStorage({ ...options, path: `${folder}/data/${prefix}` }),
    openDenied: (prefix) => {
      const { privateKey: _key, ...login } = options;
      return sftpStorage({ ...login, password: "wrong", path: `${folder}/data/${prefix}` });
    },
    objects: 5000,
    fill: (prefix, keys) => fillFolder(`${folder}/data/${prefix}`, keys),
    isThrownAway: true,
  });

  describeNetwork("sftp", {
    port,
    open: (at, network) =>
      sftpStorage({ ...options, port: at, path: `${folder}/data/network`, ...network }),
  });

  test("a host is known by its key", async () => {
    const { stdout } = spawnSync("ssh-keygen", ["-l", "-f", `${folder}/host.pub`], {
      encoding: "utf8",
    });
    const hostKey = /SHA256:\S+/.exec(stdout)?.[0] ?? "";
    const path = `${folder}/data`;
    const known = sftpStorage({ ...options, path, hostKey });
    await known.put("known", Buffer.from("x"));
    await known.close();
    const other = sftpStorage({
      ...options,
      path,
      hostKey: "SHA256:AAAA",
      attemptsMax: 2,
      pauseMs: 1,
    });
    const refused = { code: expect.stringMatching(/^STORAGE_(FAILED|UNAVAILABLE)$/) };
    await expect(other.put("other", Buffer.from("x"))).rejects.toMatchObject(refused);
    await other.close();
  });
}
