// `npm run ship-kills -- 200`: ships databases under load, kills the process that many times, and
// compares what the backups give.
import { spawnSync } from "node:child_process";

const [kills = "200"] = process.argv.slice(2);
if (!/^[1-9]\d*$/.test(kills)) {
  process.stderr.write("usage: npm run ship-kills -- [kills]\n");
  process.exit(2);
}
const { status } = spawnSync(
  process.execPath,
  [
    "node_modules/vitest/vitest.mjs",
    "run",
    "test/ship/kills.test.ts",
    "test/ship/keep.test.ts",
    "test/ship/processes.test.ts",
  ],
  {
    stdio: "inherit",
    env: { ...process.env, SHIP_KILLS: kills, SHIP_ROUNDS: String(Math.ceil(Number(kills) / 20)) },
  },
);
process.exit(status ?? 1);
