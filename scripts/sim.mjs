// `npm run sim -- --seed 7 --peers 4 --ticks 60`: one simulated history, by docs/testing.md. The
// simulator is TypeScript, which Vite (a part of Vitest) reads for every version of Node.
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const vitest = createRequire(createRequire(import.meta.url).resolve("vitest/package.json"));
const { runnerImport } = await import(pathToFileURL(vitest.resolve("vite")).href);
const { module } = await runnerImport(join(root, "test/simulation/main.ts"), {
  root,
  configFile: false,
  logLevel: "error",
});
process.exitCode = await module.main(process.argv.slice(2));
