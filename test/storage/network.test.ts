/** Storages on a network that fails, against real servers; S3 is in a file of its own. */
import { afterAll, describe, test } from "vitest";
import { ftpStorage } from "../../src/storage/ftp.ts";
import { sftpStorage } from "../../src/storage/sftp.ts";
import { webDavStorage } from "../../src/storage/webdav.ts";
import { emulatedAzure, makeContainer } from "../support/azure.ts";
import { describeNetwork } from "../support/network-suite.ts";
import { azureServer, ftpServer, sftpServer, webDavServer } from "../support/servers.ts";

const [webDav, sftp, ftp, azure] = await Promise.all([
  webDavServer(),
  sftpServer(),
  ftpServer(),
  azureServer(),
]);
afterAll(async () => {
  for (const server of [webDav, sftp, ftp, azure]) await server?.stop();
});
const skipped = (name: string) =>
  describe.skip(`${name}: its server is not there`, () => test("is skipped", () => {}));

if (webDav === undefined) skipped("webdav");
else {
  const login = { username: "user", password: "pass" };
  describeNetwork("webdav", {
    port: webDav.port,
    open: (port, options) =>
      webDavStorage({ url: `http://127.0.0.1:${port}/network`, ...login, ...options }),
  });
}

if (sftp === undefined) skipped("sftp");
else {
  const { privateKey, folder } = sftp;
  const login = { host: "127.0.0.1", username: "root", privateKey };
  describeNetwork("sftp", {
    port: sftp.port,
    open: (port, options) =>
      sftpStorage({ ...login, port, path: `${folder}/data/network`, ...options }),
  });
}

if (ftp === undefined) skipped("ftp");
else {
  // Only commands go through the proxy: data has connections of its own.
  describeNetwork("ftp", {
    port: ftp.port,
    cutBytesMax: 300,
    open: (port, options) =>
      ftpStorage({
        host: "127.0.0.1",
        port,
        username: "anonymous",
        path: "data/network",
        ...options,
      }),
  });
}

if (azure === undefined) skipped("azure");
else {
  await makeContainer(azure.port);
  describeNetwork("azure", {
    port: azure.port,
    open: (port, options) => emulatedAzure(port, { prefix: "network", ...options }),
  });
}
