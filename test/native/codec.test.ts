/** Runs the C++ unit tests of native/test under AddressSanitizer and UBSan, one test a TEST(). */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ring1, root } from "../support/ring1.ts";

// A compiler must not run under a sanitizer that is preloaded for the addon's tests.
const { LD_PRELOAD: _, ...env } = process.env;
const sources = join(root, "native/test");
const names = readdirSync(sources)
  .filter((file) => file.endsWith(".cc"))
  .flatMap((file) => readFileSync(join(sources, file), "utf8").match(/(?<=^TEST\()\w+/gm) ?? []);

const compiler = ["c++", "g++", "clang++"].find(
  (command) => spawnSync(command, ["--version"], { env }).status === 0,
);
const title = compiler === undefined ? "native/test (skipped: no C++ compiler)" : "native/test";

const flags = ["-std=c++17", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-fno-exceptions"];
flags.push("-fno-rtti", "-fsanitize=address,undefined", "-fno-sanitize-recover=all");

describe.skipIf(compiler === undefined)(title, () => {
  let folder = "";

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "mergelite-unit-"));
    const files = ring1.filter((file) => file.endsWith(".cc")).map((file) => `native/${file}`);
    const tests = readdirSync(sources).filter((file) => file.endsWith(".cc"));
    files.push(...tests.map((file) => `native/test/${file}`));
    const args = [...flags, ...files, "-o", join(folder, "unit")];
    execFileSync(compiler ?? "", args, { cwd: root, env, stdio: "pipe" });
  }, 300_000);

  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test.each(names)("%s", (name) => {
    const { status, stderr } = spawnSync(join(folder, "unit"), [name], { env, encoding: "utf8" });
    expect(stderr).toBe("");
    expect(status).toBe(0);
  });

  test("an unknown name fails", () => {
    expect(spawnSync(join(folder, "unit"), ["no_such_test"], { env }).status).toBe(1);
  });
});
