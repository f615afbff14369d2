/** Packs the package as it is published and uses it from an empty project, where nothing compiles. */
import { execFileSync, spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { root } from "./support/ring1.ts";
import { textOf } from "./support/source.ts";

const binary = join(root, "build/Release/mergelite.node");
const platform = `${process.platform}-${process.arch}`;

/** What `exports` in package.json lets users import. */
const { exports } = JSON.parse(textOf("package.json")) as { exports: Record<string, unknown> };
const entryPoints = Object.keys(exports)
  .filter((path) => path !== "./package.json")
  .map((path) => path.replace(/^\./, "mergelite"));

/** Everything `files` in package.json names, with the release build where prebuilds are. */
function stage(folder: string): void {
  mkdirSync(folder);
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  const args = ["-p", "tsconfig.build.json", "--outDir", join(folder, "dist")];
  execFileSync(process.execPath, [tsc, ...args], { cwd: root });
  // Also what must not be packed, to see that it is not.
  for (const name of readdirSync(root)) {
    if (/\.(md|json|gyp)$|^LICENSE$|^(docs|native|src|scripts)$/.test(name)) {
      cpSync(join(root, name), join(folder, name), { recursive: true });
    }
  }
  cpSync(binary, join(folder, "prebuilds", platform, "mergelite.node"));
}

/** What `npm install` of the tarball would leave behind, without a registry. */
function install(tarball: string, project: string): void {
  const modules = join(project, "node_modules");
  mkdirSync(join(modules, "mergelite"), { recursive: true });
  const target = join(modules, "mergelite");
  execFileSync("tar", ["-xzf", tarball, "--strip-components=1", "-C", target]);
  for (const name of ["better-sqlite3", "croner", "node-gyp-build", "smol-toml", "ws"]) {
    symlinkSync(join(root, "node_modules", name), join(modules, name));
  }
}

describe.skipIf(process.platform === "win32")("the packed package", () => {
  let folder = "";
  let project = "";
  let packed: string[] = [];

  function run(code: string, file: string): string {
    writeFileSync(join(project, file), code);
    const options = { cwd: project, encoding: "utf8" } as const;
    const { stdout, stderr, status } = spawnSync(process.execPath, [file], options);
    expect({ stderr, status }).toEqual({ stderr: "", status: 0 });
    return stdout.trim();
  }

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "mergelite-package-"));
    project = join(folder, "project with a space");
    mkdirSync(project);
    stage(join(folder, "stage"));
    const args = ["pack", "--ignore-scripts", "--json", "--offline", "--pack-destination", folder];
    const options = { cwd: join(folder, "stage"), encoding: "utf8", stdio: "pipe" } as const;
    execFileSync("npm", args, options);
    const tarball = join(folder, readdirSync(folder).find((name) => name.endsWith(".tgz")) ?? "");
    packed = execFileSync("tar", ["-tzf", tarball], { encoding: "utf8" })
      .split("\n")
      .map((path) => path.replace(/^package\//, ""));
    install(tarball, project);
  }, 120_000);

  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test("holds what is run and read, and no sources to compile", () => {
    expect(packed).toContain("dist/index.js");
    expect(packed).toContain("dist/index.d.ts");
    expect(packed).toContain("dist/cli/main.js");
    expect(packed).toContain(`prebuilds/${platform}/mergelite.node`);
    expect(packed).toContain("LICENSE");
    expect(packed).toContain("docs/errors.md");
    expect(packed.filter((path) => /\.(gyp|cc|h)$|^(native|src|scripts)\//.test(path))).toEqual([]);
  });

  test("replicates a write in an empty project", () => {
    const code = `
      import Database from "better-sqlite3";
      import { attach } from "mergelite";
      const db = new Database("app.db");
      db.exec("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)");
      const replica = attach(db, { tables: ["note"] });
      db.prepare("INSERT INTO note VALUES (?, ?)").run(1, "hello");
      console.log(JSON.stringify(db.prepare("SELECT id, body, _op FROM note_patches").all()));
      await replica.close();
      db.close();
    `;
    expect(JSON.parse(run(code, "app.mjs"))).toEqual([{ id: 1, body: "hello", _op: "insert" }]);
    // The binary is the package's own, not one that was compiled here.
    expect(existsSync(join(project, "node_modules/mergelite/build"))).toBe(false);
  });

  test("can be required", () => {
    expect(run('console.log(typeof require("mergelite").attach)', "app.cjs")).toBe("function");
  });

  test.each(entryPoints)("exports %s", (name) => {
    const code = `import * as m from "${name}"; console.log(Object.keys(m).length > 0)`;
    expect(run(code, `${name.replace("/", "-")}.mjs`)).toBe("true");
    expect(textOf("docs/api.md")).toContain(`\n## \`${name}\`\n`);
  });

  test("its command runs", () => {
    const main = join(project, "node_modules/mergelite/dist/cli/main.js");
    const { stdout, status } = spawnSync(process.execPath, [main, "--help"], { encoding: "utf8" });
    expect(status).toBe(0);
    expect(stdout).toContain("mergelite");
  });
});

const isSanitized = process.env.MERGELITE_PREBUILD !== undefined;

describe.skipIf(process.platform !== "linux" || isSanitized)("the binary", () => {
  const check = (file: string) =>
    spawnSync(process.execPath, ["scripts/check-binary.mjs", file], { cwd: root });

  test("needs no library and no symbol beyond the list", () => {
    const { status, stderr } = check(binary);
    expect(stderr.toString()).toBe("");
    expect(status).toBe(0);
  });

  test("another binary does not pass", () => {
    const other = join(root, "node_modules/better-sqlite3");
    const files = readdirSync(other, { recursive: true, encoding: "utf8" });
    const wrong = files.find((file) => /(linux-\w+|better_sqlite3)\.node$/.test(file)) ?? "";
    const { status, stderr } = check(join(other, wrong));
    expect(status).toBe(1);
    expect(stderr.toString()).toMatch(/it needs lib\w+.*\n.*it takes /s);
  });
});
