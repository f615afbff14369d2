/** Scrapes: `mergelite serve --metrics`, a real Prometheus, and the dashboard that comes with it. */
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterEach, expect, it, vi } from "vitest";
import { execute, fail, patienceMs, type Running, start, succeed } from "../support/cli.ts";
import { dashboards, expressionsOf, familiesOf } from "../support/dashboards.ts";
import { temporaryFolder } from "../support/folder.ts";
import { parseOpenMetrics } from "../support/open-metrics.ts";

vi.setConfig({ testTimeout: patienceMs });

const folder = temporaryFolder();
const started: { kill(signal: NodeJS.Signals): unknown }[] = [];
afterEach(() => {
  for (const one of started.splice(0)) one.kill("SIGKILL");
});

const hasPrometheus = spawnSync("prometheus", ["--version"]).status === 0;
if (!hasPrometheus) process.stderr.write("skipped: no prometheus (Debian package prometheus)\n");

async function serve(...args: string[]): Promise<{ server: Running; url: string }> {
  const file = folder.file();
  execute(file, "PRAGMA journal_mode = WAL; CREATE TABLE note (id TEXT PRIMARY KEY, body TEXT)");
  await succeed("init", file);
  execute(file, "INSERT INTO note VALUES ('a', 'b'), ('c', 'd')");
  const server = start("serve", file, "--listen", "127.0.0.1:0", ...args);
  started.push(server);
  const [, url = ""] = await server.printed(/metrics at (http:\S+)/);
  return { server, url };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === "object" ? (address?.port ?? 0) : 0;
}

it("answers GET /metrics and nothing else", async () => {
  const { server, url } = await serve("--metrics", "127.0.0.1:0", "--cluster", "home");
  const response = await fetch(url);
  expect(response.headers.get("content-type")).toBe(
    "application/openmetrics-text; version=1.0.0; charset=utf-8",
  );
  const families = parseOpenMetrics(await response.text());
  const [log] = families.get("mergelite_log_changesets")?.samples ?? [];
  expect(log).toMatchObject({ value: 1, labels: { cluster: "home" } });
  expect((await fetch(url.replace("/metrics", "/"))).status).toBe(404);
  expect((await fetch(url, { method: "POST" })).status).toBe(405);
  server.kill("SIGTERM");
  expect(await server.finished).toMatchObject({ code: 0, stderr: "" });
});

it("refuses what is no address", async () => {
  const file = folder.file();
  execute(file, "CREATE TABLE note (id TEXT PRIMARY KEY)");
  const args = ["--listen", "127.0.0.1:0", "--metrics"];
  expect(await fail(2, "serve", file, ...args, "nowhere")).toContain("not an address");
  expect(await fail(2, "serve", file, ...args, "ws://127.0.0.1:0")).toContain("not an address");
});

it.skipIf(!hasPrometheus)("is scraped by Prometheus", async () => {
  const { url } = await serve("--metrics", "127.0.0.1:0");
  const port = await freePort();
  const data = join(folder.path, "prometheus");
  mkdirSync(data);
  const config = join(folder.path, "prometheus.yml");
  writeFileSync(
    config,
    `scrape_configs:
  - job_name: mergelite
    scrape_interval: 1s
    static_configs:
      - targets: ["${new URL(url).host}"]
`,
  );
  const prometheus = spawn(
    "prometheus",
    [
      `--config.file=${config}`,
      `--storage.tsdb.path=${data}`,
      `--web.listen-address=127.0.0.1:${port}`,
    ],
    { stdio: "ignore" },
  );
  started.push(prometheus);
  const query = async (expression: string): Promise<unknown[]> => {
    const api = `http://127.0.0.1:${port}/api/v1/query?query=${encodeURIComponent(expression)}`;
    const answer = await fetch(api).then(
      (response) => (response.ok ? response.json() : undefined),
      () => undefined,
    );
    return (answer as { data?: { result?: unknown[] } } | undefined)?.data?.result ?? [];
  };
  await vi.waitFor(
    async () => expect(await query("mergelite_log_changesets == 1")).toHaveLength(1),
    { timeout: patienceMs, interval: 200 },
  );
  expect(await query('up{job="mergelite"} == 1')).toHaveLength(1);
  expect(await query("mergelite_merge_slice_seconds_bucket")).not.toHaveLength(0);
  // Every expression of a dashboard is one that Prometheus understands.
  for (const expression of dashboards.flatMap(expressionsOf)) {
    const api = `http://127.0.0.1:${port}/api/v1/query?query=${encodeURIComponent(expression)}`;
    expect([expression, (await fetch(api)).status]).toEqual([expression, 200]);
  }
});

it("comes with a dashboard that shows metrics there are", async () => {
  const { url } = await serve("--metrics", "127.0.0.1:0");
  const text = await (await fetch(url)).text();
  const known = new Set([...parseOpenMetrics(text).keys(), ...onlySometimes]);
  const shown = familiesOf("grafana-dashboard.json");
  expect(shown.size).toBeGreaterThan(10);
  expect([...shown].filter((family) => !known.has(family))).toEqual([]);
});

/** Families without samples until there is something to tell. */
const onlySometimes = [
  "mergelite_peer_lag_changesets",
  "mergelite_peer_lag_seconds",
  "mergelite_parked",
  "mergelite_last_snapshot_timestamp_seconds",
];
