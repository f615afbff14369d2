/** S3 against a real server of its protocol: see docs/testing.md. */
import { describe, test } from "vitest";
import { s3Storage } from "../../src/storage/s3.ts";
import { describeStorage } from "../support/storage-suite.ts";

const endpoint = process.env.MERGELITE_S3_ENDPOINT;
if (endpoint === undefined) {
  describe.skip("s3: MERGELITE_S3_ENDPOINT names no server", () => test("is skipped", () => {}));
} else {
  const options = { bucket: "mergelite", endpoint };
  const credentials = { accessKeyId: "testkey", secretAccessKey: "testsecret" };
  describeStorage("s3", {
    open: (prefix) => s3Storage({ ...options, prefix, credentials }),
    openDenied: (prefix) => {
      const wrong = { ...credentials, secretAccessKey: "wrong" };
      return s3Storage({ ...options, prefix, credentials: wrong });
    },
  });
}
