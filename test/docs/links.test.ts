/** What a document points to is there, also for those who have the package and not the repository. */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, normalize } from "node:path";
import { expect, test } from "vitest";
import { root } from "../support/ring1.ts";

/** What npm would pack, without building it first. */
function packed(): string[] {
  const args = ["pack", "--dry-run", "--ignore-scripts", "--json"];
  const { stdout } = spawnSync("npm", args, { cwd: root, encoding: "utf8" });
  const [manifest] = JSON.parse(stdout) as { files: { path: string }[] }[];
  return (manifest?.files ?? []).map(({ path }) => path);
}

const files = packed();

/** `path#anchor` of every link to a file of ours. */
function linksIn(document: string): { path: string; anchor: string | undefined }[] {
  const text = textOf(document).replaceAll(/^```.*?^```/gms, "");
  return [...text.matchAll(/\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)/g)].map(
    ([, path = "", anchor]) => ({
      path: path === "" ? document : normalize(`${dirname(document)}/${path}`),
      anchor,
    }),
  );
}

const textOf = (document: string) => readFileSync(`${root}/${document}`, "utf8");

/** As renderers make them of headings. */
function anchorsOf(document: string): string[] {
  return [...textOf(document).matchAll(/^#+ (.+)$/gm)].map(([, heading = ""]) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-"),
  );
}

test("links of packed documents lead to packed files, and anchors to headings", () => {
  const documents = files.filter((path) => path.endsWith(".md"));
  expect(documents.length).toBeGreaterThan(20);
  const isThere = (path: string) =>
    files.some((file) => file === path || file.startsWith(`${path}/`));
  const broken = documents.flatMap((document) =>
    linksIn(document)
      .filter(
        ({ path, anchor }) =>
          !isThere(path) ||
          (anchor !== undefined && path.endsWith(".md") && !anchorsOf(path).includes(anchor)),
      )
      .map(({ path, anchor }) => `${document}: ${path}#${anchor ?? ""}`),
  );
  expect(broken).toEqual([]);
});

test("every example is packed with what it imports", () => {
  for (const name of readdirSync(`${root}/examples`, { recursive: true, encoding: "utf8" })) {
    if (name.endsWith(".mjs")) expect(files).toContain(`examples/${name}`);
  }
});
