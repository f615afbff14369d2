// All benchmarks, or those named: `npm run bench -- capture sync`. `--quick` measures less of each.
// When all have run in full, docs/performance.svg shows the ratios.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { captureBench, captureTitle } from "./capture.mjs";
import { catchUpBench, catchUpText } from "./catch-up.mjs";
import { chart } from "./chart.mjs";
import { diskBench, diskTable } from "./disk.mjs";
import { idleBench, idleText } from "./idle.mjs";
import { ratioTable } from "./lib.mjs";
import { logBench, logTable } from "./log.mjs";
import { mergeBench, mergeTitle } from "./merge.mjs";
import { restoreBench, restoreText } from "./restore.mjs";
import { shipBench, shipText } from "./ship.mjs";
import { syncBench, syncText } from "./sync.mjs";

const charted = [];
const benches = {
  capture: (options) => ratios("Local writes and reads", captureTitle, captureBench(options)),
  merge: (options) => ratios("Merging", mergeTitle, mergeBench(options)),
  log: (options) => logTable(logBench(options)),
  disk: (options) => diskTable(diskBench(options)),
  sync: async ({ quick }) =>
    syncText(await syncBench(quick ? { latencies: 100, changes: 50_000 } : {})),
  "catch-up": async ({ quick }) =>
    catchUpText(await catchUpBench(quick ? { rows: 100_000, seconds: 10 } : {})),
  ship: async ({ quick }) =>
    shipText(
      await shipBench(quick ? { rounds: 1, turnMs: 300, pairMs: 1500, bytes: 2 ** 22 } : {}),
    ),
  restore: async ({ quick }) =>
    restoreText(await restoreBench(quick ? { bytes: 2 ** 26, rounds: 1 } : {})),
  idle: async ({ quick }) => idleText(await idleBench(quick ? { count: 100, seconds: 2 } : {})),
};

function ratios(section, title, results) {
  charted.push([section, results]);
  return ratioTable(title, results);
}

const wanted = process.argv.slice(2).filter((argument) => argument !== "--quick");
const quick = process.argv.includes("--quick");
for (const name of wanted) {
  if (name in benches) continue;
  process.stderr.write(`no benchmark ${name}; there are ${Object.keys(benches).join(", ")}\n`);
  process.exit(2);
}
for (const [name, run] of Object.entries(benches)) {
  if (wanted.length === 0 || wanted.includes(name)) process.stdout.write(await run({ quick }));
}
if (wanted.length === 0 && !quick) {
  writeFileSync(join(import.meta.dirname, "../docs/performance.svg"), chart(charted));
}
