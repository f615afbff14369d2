/** S3 against a real server of its protocol: see docs/testing.md. */
import { randomUUID } from "node:crypto";
import { afterAll, describe, test } from "vitest";
import { type S3Options, s3Storage } from "../../src/storage/s3.ts";
import { churn } from "../support/backup.ts";
import { bucket, credentials, s3Server } from "../support/ceph.ts";
import { temporaryFolder } from "../support/folder.ts";
import { expectLitestreamRestores, hasLitestream } from "../support/litestream.ts";
import { describeNetwork } from "../support/network-suite.ts";
import { eager, openWal, ship } from "../support/ship.ts";
import { describeStorage } from "../support/storage-suite.ts";

const folder = temporaryFolder();
const server = await s3Server();
afterAll(() => server?.stop());
if (server === undefined) {
  const why =
    "s3: Ceph is not installed, or this is not root; MERGELITE_S3_ENDPOINT names no server";
  describe.skip(why, () => test("is skipped", () => {}));
} else {
  const { endpoint } = server;
  const open = (options: Partial<S3Options> & { prefix: string }) =>
    s3Storage({ bucket, endpoint, credentials, ...options });
  describeStorage("s3", {
    open: (prefix) => open({ prefix }),
    openDenied: (prefix) =>
      open({ prefix, credentials: { ...credentials, secretAccessKey: "wrong" } }),
    objects: 5000,
    isThrownAway: server.isThrownAway,
  });
  const prefix = `network/${randomUUID()}`;
  describeNetwork("s3", {
    port: Number(new URL(endpoint).port),
    open: (port, options) => open({ prefix, endpoint: `http://127.0.0.1:${port}`, ...options }),
  });
  test.skipIf(!hasLitestream)("Litestream restores what is shipped there", async () => {
    const prefix = `litestream/${randomUUID()}`;
    const storage = open({ prefix });
    const db = openWal(folder.file());
    const shipper = ship(db, storage, eager);
    for (let i = 0; i < 3; i++) {
      db.exec(churn(i));
      await shipper.flush();
    }
    await shipper.close();
    const query = `endpoint=${encodeURIComponent(endpoint)}&forcePathStyle=true`;
    const url = `s3://${bucket}/${prefix}?${query}`;
    await expectLitestreamRestores(url, db, {
      LITESTREAM_ACCESS_KEY_ID: credentials.accessKeyId,
      LITESTREAM_SECRET_ACCESS_KEY: credentials.secretAccessKey,
    });
    db.close();
  });
}
