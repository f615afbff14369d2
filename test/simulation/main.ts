/** The simulator's command line: one history, several, or as many as there is time for. */
import { readFileSync, writeSync } from "node:fs";
import { parseArgs } from "node:util";
import { clusterNames, measureCluster, tableHead, tableRow } from "./clusters.ts";
import { makePlan, type Plan, type PlanSize, topologies } from "./plan.ts";
import { Chance } from "./random.ts";
import { sizeOf } from "./seeds.ts";
import { shrink } from "./shrink.ts";
import { type Outcome, simulate } from "./world.ts";

const usage = `usage: npm run sim -- [--seed S] [--peers N] [--ticks T] [--topology NAME] [--runs N]
       [--floors] [--shrink RUNS] [--trace] [--keep]
       npm run sim:soak -- [--seed S] [--floors]
       npm run sim -- --plan FILE [--shrink RUNS] [--trace] [--keep]
       npm run sim -- --topologies

  --seed      where chance begins (default: from the clock)
  --peers     replicas at the beginning (default: as in CI, by the seed)
  --ticks     how long faults go on (default: as in CI, by the seed)
  --topology  ${topologies.join(", ")} (default: from the seed)
  --floors    tombstones go
  --runs      histories, from one seed to the next (1)
  --shrink    runs a failing history may be made smaller with (400)
  --trace     print everything that happens
  --keep      leave the database files, and print where
  --plan      a history as JSON, as a failure prints it
  --topologies  what each changeset costs in larger clusters without faults, as a table
`;

const settings = {
  seed: { type: "string" },
  peers: { type: "string" },
  ticks: { type: "string" },
  topology: { type: "string" },
  floors: { type: "boolean" },
  runs: { type: "string", default: "1" },
  shrink: { type: "string", default: "400" },
  trace: { type: "boolean", default: false },
  keep: { type: "boolean", default: false },
  soak: { type: "boolean", default: false },
  plan: { type: "string" },
  topologies: { type: "boolean", default: false },
} as const;

/** Returns the exit code. */
export async function main(args: readonly string[]): Promise<number> {
  const options = readOptions(args);
  if (options === undefined) {
    print(usage);
    return 2;
  }
  const { soak, first, runs } = options;
  if (options.topologies) {
    print(tableHead);
    for (const name of clusterNames) print(tableRow(name, await measureCluster(name)));
    return 0;
  }
  if (options.plan !== undefined) {
    const plan = JSON.parse(readFileSync(options.plan, "utf8")) as Plan;
    return (await runPlan(plan, `--plan ${options.plan}`, options)) ? 0 : 1;
  }
  let failures = 0;
  let stopped = false;
  process.once("SIGINT", () => {
    stopped = true;
  });
  for (let run = 0; !stopped && (soak || run < runs); run++) {
    const seed = (first + run) % 2 ** 31;
    const size = soak
      ? { ...soakSize(seed), floors: options.size.floors }
      : { ...sizeOf(seed), ...options.size };
    if (!(await runOne(size, options))) failures += 1;
  }
  print(`${failures === 0 ? "all well" : `${failures} failed`}\n`);
  return failures === 0 ? 0 : 1;
}

interface Settings {
  readonly soak: boolean;
  readonly plan: string | undefined;
  readonly topologies: boolean;
  readonly trace: boolean;
  readonly keep: boolean;
  readonly shrinkRuns: number;
  readonly first: number;
  readonly runs: number;
  readonly size: Partial<PlanSize>;
}

function readOptions(args: readonly string[]): Settings | undefined {
  let values: ReturnType<typeof parseArgs<{ options: typeof settings }>>["values"];
  try {
    ({ values } = parseArgs({ args: [...args], options: settings }));
  } catch {
    return undefined;
  }
  const seed = values.seed ?? String(Date.now() % 2 ** 31);
  const { peers = "2", ticks = "0" } = values;
  const numbers = [seed, values.runs, values.shrink, peers, ticks].map(Number);
  const [first = 0, runs = 0, shrinkRuns = 0] = numbers;
  const topology = topologies.find((name) => name === values.topology);
  const isWrong =
    numbers.some((value) => !Number.isInteger(value) || value < 0) ||
    Number(peers) < 2 ||
    (values.topology !== undefined && topology === undefined);
  if (isWrong) return undefined;
  const size: Partial<PlanSize> = {
    ...(values.peers === undefined ? {} : { peers: Number(peers) }),
    ...(values.ticks === undefined ? {} : { ticks: Number(ticks) }),
    ...(topology === undefined ? {} : { topology }),
    ...(values.floors === undefined ? {} : { floors: values.floors }),
  };
  const { soak, plan, topologies: isTable, trace, keep } = values;
  return { soak, plan, topologies: isTable, trace, keep, shrinkRuns, first, runs, size };
}

/** From two peers for a moment to a dozen for long. */
function soakSize(seed: number): PlanSize {
  const chance = new Chance(seed).stream("size");
  const peers = chance.pick([2, 3, 3, 4, 4, 5, 8]);
  return { seed, peers, ticks: chance.pick([20, 60, 60, 150, 400]) };
}

function runOne(size: PlanSize, options: Settings): Promise<boolean> {
  return runPlan(makePlan(size), commandOf(size), options);
}

async function runPlan(plan: Plan, name: string, options: Settings): Promise<boolean> {
  const startMs = performance.now();
  const outcome = await simulate(plan, {
    ...(options.trace ? { onTrace: (line) => print(`${line}\n`) } : {}),
    ...(options.keep ? { onFolder: (folder) => print(`files are in ${folder}\n`) } : {}),
  });
  print(`${name}  ${describe(outcome)}, ${Math.round(performance.now() - startMs)} ms\n`);
  if (outcome.violation === undefined) return true;
  print(`\n${outcome.violation}\n\n`);
  if (options.shrinkRuns > 0) await printShrunk(plan, outcome.violation, options.shrinkRuns);
  return false;
}

function describe(outcome: Outcome): string {
  const { hash, changesets, messages, convergedMs, repaired, violation } = outcome;
  const how = repaired === undefined ? "" : `, repaired: ${repaired}`;
  const end = violation !== undefined ? `FAILED${how}` : `converged in ${convergedMs} ms${how}`;
  return `${hash}  ${changesets} changesets, ${messages} messages, ${end}`;
}

/** What repeats a history. */
export function commandOf({ seed, peers, ticks, topology, floors }: PlanSize): string {
  const name = topology === undefined ? "" : ` --topology '${topology}'`;
  const what = floors ? " --floors" : "";
  return `npm run sim -- --seed ${seed} --peers ${peers} --ticks ${ticks}${name}${what}`;
}

async function printShrunk(plan: Plan, violation: string, runsMax: number): Promise<void> {
  const small = await shrink(plan, violation, { runsMax });
  print(`${formatPlan(small.plan)}\n${small.violation}\n(${small.runs} runs to shrink it)\n`);
}

/** A plan as text that a test can hold: one line for the world, and one for each event. */
export function formatPlan(plan: Plan): string {
  const { events, ...world } = plan;
  const lines = events.map((event) => `    ${JSON.stringify(event)},`);
  return [`${JSON.stringify(world).slice(0, -1)},`, `  "events": [`, ...lines, "  ]}"].join("\n");
}

function print(text: string): void {
  writeSync(1, text);
}
