// All benchmarks, or those named: `npm run bench -- capture sync`.
import { captureBench, captureTable } from "./capture.mjs";
import { mergeBench, mergeTable } from "./merge.mjs";
import { syncBench, syncText } from "./sync.mjs";

const benches = {
  capture: async () => captureTable(captureBench()),
  merge: async () => mergeTable(mergeBench()),
  sync: async () => syncText(await syncBench()),
};

const wanted = process.argv.slice(2);
for (const name of wanted) {
  if (name in benches) continue;
  process.stderr.write(`no benchmark ${name}; there are ${Object.keys(benches).join(", ")}\n`);
  process.exit(2);
}
for (const [name, run] of Object.entries(benches)) {
  if (wanted.length === 0 || wanted.includes(name)) process.stdout.write(await run());
}
