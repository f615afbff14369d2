// `npm run property -- 100000 7`: that many random histories, from seed 7 (without one, from the
// clock). The seed of a failure, and the shrunk history, are in the output.
import { spawnSync } from "node:child_process";

const [runs = "10000", seed = String(Date.now() % 2 ** 31)] = process.argv.slice(2);
if (!/^\d+$/.test(runs) || !/^-?\d+$/.test(seed)) {
  process.stderr.write("usage: npm run property -- [histories] [seed]\n");
  process.exit(2);
}
process.stderr.write(`${runs} histories, seed ${seed}\n`);
const { status } = spawnSync(
  process.execPath,
  ["node_modules/vitest/vitest.mjs", "run", "test/property"],
  { stdio: "inherit", env: { ...process.env, PROPERTY_RUNS: runs, PROPERTY_SEED: seed } },
);
process.exit(status ?? 1);
