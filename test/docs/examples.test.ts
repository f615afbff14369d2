/** Each example runs to its end by itself, as a user would run it. */
import { execFile } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { root } from "./snippets.ts";

const run = promisify(execFile);

const frameworkPrinted =
  /wrote "hello 5", the other server read "hello 5"\n.*: 503, retry after 1\n.*: 400, retry after null\n$/;

/** What each example prints when it does what it says. */
const printed: Record<string, RegExp> = {
  "notes-service.mjs":
    /server 2 shows {"id":"tea","body":"buy tea","done":1}\nwithout server 0: call Ann\nserver 0 is back: call Ann\n$/,
  "own-transport.mjs": /"cellar","celsius":13\.5/,
  "read-your-writes-express.mjs": frameworkPrinted,
  "read-your-writes-fastify.mjs": frameworkPrinted,
  "read-your-writes-hono.mjs": frameworkPrinted,
  "read-your-writes.mjs": /wrote "hello 5", east read "hello 5"/,
  "serverless.mjs":
    /were here 1001 times\n(.*\n)*.*were here 1002 times\nthe server has 1003 visits\n$/,
  "two-peers.mjs": /verified: 0 differences/,
};

describe("examples", () => {
  const files = readdirSync(join(root, "examples")).filter((name) => name.endsWith(".mjs"));

  test("all are known here", () => {
    expect(files.sort()).toEqual(Object.keys(printed));
  });

  test.each(files)("%s", async (name) => {
    const { stdout } = await run(process.execPath, [join("examples", name)], {
      cwd: root,
      timeout: 25_000,
    });
    expect(stdout).toMatch(printed[name] ?? /^$/);
  });

  test("two-peers.mjs: both show the same rows in the end", async () => {
    const { stdout } = await run(process.execPath, ["examples/two-peers.mjs"], { cwd: root });
    const together = stdout.slice(stdout.indexOf("Together:"));
    const [desk, phone] = together.split(/desk:|phone:|verified/).slice(1, 3);
    expect(desk).toBe(phone);
    expect(desk).toContain("a  [x] buy green tea");
    expect(desk).not.toContain("call Ann");
  });
});
