// `npm run property -- 100000 7`: that many random histories from seed 7 (without one, from the
// clock), in chunks of their own process and seed. A chunk that fails ends the run with its output;
// `npm run property -- 2000 19` repeats the one of seed 19, and a larger number goes on from there.
import { spawnSync } from "node:child_process";

const chunkHistories = 2000;
const dayMs = 24 * 3_600_000;

const [historiesText = "10000", seedText = String(Date.now() % 2 ** 31)] = process.argv.slice(2);
if (!/^[1-9]\d*$/.test(historiesText) || !/^\d+$/.test(seedText)) {
  process.stderr.write("usage: npm run property -- [histories] [seed]\n");
  process.exit(2);
}
const histories = Number(historiesText);

function runChunk(seed, count) {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ["node_modules/vitest/vitest.mjs", "run", "test/property", `--testTimeout=${dayMs}`],
    {
      encoding: "utf8",
      maxBuffer: 2 ** 28,
      env: { ...process.env, PROPERTY_RUNS: String(count), PROPERTY_SEED: String(seed) },
    },
  );
  if (status === 0) return;
  process.stderr.write(`${stdout}${stderr}\nseed ${seed}: FAILED\n`);
  process.exit(status ?? 1);
}

process.stdout.write(`${histories} histories from seed ${seedText}\n`);
let seed = Number(seedText);
for (let done = 0; done < histories; seed++) {
  const count = Math.min(chunkHistories, histories - done);
  const beganMs = performance.now();
  runChunk(seed, count);
  done += count;
  const seconds = Math.round((performance.now() - beganMs) / 1000);
  process.stdout.write(`seed ${seed}: passed, ${done} of ${histories} (${seconds} s)\n`);
}
