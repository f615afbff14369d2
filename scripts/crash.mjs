// `node scripts/crash.mjs 500`: kills a writing process that many times and looks what is left.
import { spawnSync } from "node:child_process";

const [rounds = "500", seed = "1"] = process.argv.slice(2);
if (!/^\d+$/.test(rounds) || !/^\d+$/.test(seed)) {
  process.stderr.write("usage: node scripts/crash.mjs [rounds [seed]]\n");
  process.exit(2);
}
const { status } = spawnSync(
  process.execPath,
  ["node_modules/vitest/vitest.mjs", "run", "test/crash"],
  { stdio: "inherit", env: { ...process.env, CRASH_ROUNDS: rounds, CRASH_SEED: seed } },
);
process.exit(status ?? 1);
