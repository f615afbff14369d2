/** Azure's emulator, with a container in it. */
import { type AzureOptions, azureStorage } from "../../src/storage/azure.ts";
import { sharedKey } from "../../src/storage/azure-signature.ts";
import type { Storage } from "../../src/storage/storage.ts";

// The emulator's own, the same everywhere and printed in its manual.
const account = "devstoreaccount1";
const emulatorKey =
  "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const container = "mergelite";
const endpointAt = (port: number) => `http://127.0.0.1:${port}/${account}`;

export async function makeContainer(port: number): Promise<void> {
  const url = new URL(`${endpointAt(port)}/${container}?restype=container`);
  const headers = { "x-ms-date": new Date().toUTCString(), "x-ms-version": "2021-12-02" };
  const request = { method: "PUT", url, headers, account, bytes: 0 };
  const authorization = sharedKey(request, emulatorKey);
  const answer = await fetch(url, { method: "PUT", headers: { ...headers, authorization } });
  if (!answer.ok) throw new Error(`${answer.status}: ${await answer.text()}`);
}

export function emulatedAzure(
  port: number,
  options: Partial<AzureOptions> & { prefix: string },
): Storage {
  return azureStorage({
    account,
    container,
    endpoint: endpointAt(port),
    key: emulatorKey,
    ...options,
  });
}
