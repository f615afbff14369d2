/** The faults stop: everything has to become equal, within bounds, and nothing may be missing. */
import { ReplicaError } from "../../src/errors.ts";
import { native } from "../../src/native.ts";
import type { VerifyCall } from "../../src/verifier.ts";
import { checkConverged, checkLinks, isQuiet, runningOf } from "./checks.ts";
import type { Peer } from "./peer.ts";
import type { World } from "./world.ts";

type Pair = readonly [One, One];
type One = ReturnType<typeof runningOf>[number];

/** Where timestamps count from, by `docs/format.md`. */
const epochMs = Date.UTC(2025, 0, 1);
/** The longest waits of the library: for a retry, for dialling again; and some of each. */
const convergeMsMax = 600_000;
/** One history in so many ends with a comparison by `verify`. */
const verifiedOf = 5;
const verifyMsMax = 120_000;
/** Between two looks whether all is quiet. */
const stepMs = 1_000;

/** Returns how long it took until nothing was left to do. */
export async function converge(world: World): Promise<number> {
  const { time, peers } = world;
  world.trace("heal");
  world.healed = true;
  world.network.heal();
  for (const peer of peers) {
    peer.clock.set({ offsetMs: 0, rate: 0 });
    peer.start();
  }
  joinRest(world);
  const startMs = time.nowMs;
  await goTo(world, world.versions.highest);
  if (world.plan.version !== undefined) await goTo(world, world.plan.version);
  const convergedMs = time.nowMs - startMs;
  // Heartbeats tell what acknowledgements have not, and what is parked is looked at once more.
  await time.run(3 * world.plan.heartbeatMs);
  world.check(true);
  if (world.suspicion === undefined) await checkVerify(world);
  else await repair(world);
  checkEnd(world);
  world.trace(`converged ${convergedMs}`);
  return convergedMs;
}

/** All peers go to a version, and have everything there soon. */
function goTo(world: World, version: number): Promise<void> {
  return settle(world, () => {
    for (const peer of world.peers) {
      peer.migrate();
      peer.upgrade(version);
    }
  });
}

/** Until nothing is left to do. */
async function settle(world: World, migrate: () => void = () => undefined): Promise<void> {
  const { time, peers } = world;
  const endMs = time.nowMs + convergeMsMax + aheadMs(world);
  migrate();
  for (;;) {
    const isReady = isQuiet(peers, world.ledger);
    const open = isReady ? checkLinks(peers) : undefined;
    if (isReady && open === undefined) break;
    if (time.nowMs > endMs) world.fail(`not converged in time: ${open ?? vectors(peers)}`);
    world.throwViolation();
    await time.run(stepMs);
    migrate();
    world.check(false);
  }
}

/** Two of them compare all they have, as an operator would; now and then, for it takes messages. */
async function checkVerify(world: World): Promise<void> {
  if (world.plan.seed % verifiedOf !== 0) return;
  const pairs = linkedPairs(world.peers);
  if (pairs.length === 0) return;
  const pair = world.chance.stream("verify").pick(pairs);
  const found = await verify(world, pair, { deep: true });
  if (found > 0) world.fail(`verify of peers ${namesOf(pair)}: ${found} differences`);
  world.throwViolation();
}

/** What changesets can not make equal any more, an operator can: from link to link, until all are. */
async function repair(world: World): Promise<void> {
  for (let round = 0; round <= world.peers.length; round++) {
    let found = 0;
    for (const pair of linkedPairs(world.peers)) {
      found += await verify(world, pair, { deep: true, repair: true });
    }
    world.trace(`repaired ${found}`);
    // What was written anew, and what could not be shown yet.
    await settle(world);
    if (found === 0) return;
  }
  world.fail(`repair finds more and more: ${world.suspicion}`);
}

/** Peers one of which dials the other. */
function linkedPairs(peers: readonly Peer[]): Pair[] {
  const running = runningOf(peers);
  return running.flatMap((one) =>
    running
      .filter((other) => one.peer.dials.has(other.peer.number))
      .map((other): Pair => [one, other]),
  );
}

/** How many differences there were; 0 if they are not linked. */
async function verify(world: World, pair: Pair, call: VerifyCall): Promise<number> {
  const [one, other] = pair;
  let found: number | undefined;
  let problem: string | undefined;
  one.running.replica.verify(other.running.replica.peerId, call).then(
    ({ differences }) => {
      found = differences;
    },
    (error: unknown) => {
      // They have converged over others, and their own link is not up again yet.
      const isApart = error instanceof ReplicaError && error.code === "NOT_LINKED";
      if (isApart) found = 0;
      else problem = String(error);
    },
  );
  const isOver = () => found !== undefined || problem !== undefined;
  for (let leftMs = verifyMsMax; !isOver() && leftMs > 0; leftMs -= stepMs) {
    await world.time.run(stepMs);
  }
  if (found === undefined) {
    world.fail(`verify of peers ${namesOf(pair)}: ${problem ?? "no answer"}`);
  }
  world.throwViolation();
  return found ?? 0;
}

const namesOf = ([one, other]: Pair) => `${one.peer.number} and ${other.peer.number}`;

function checkEnd(world: World): void {
  for (const [origin, sequence] of world.ledger.guaranteed) {
    for (const peer of world.peers) {
      const held = peer.held.get(origin) ?? 0;
      if (peer.running === undefined || held >= sequence) continue;
      world.fail(`lost: peer ${peer.number} holds ${origin}.${held} of ${sequence}`);
    }
  }
  world.journal.finish(world.peers);
  const wrong = checkConverged(world.peers, {
    ledger: world.ledger,
    repaired: world.suspicion !== undefined,
  });
  if (wrong !== undefined) world.fail(wrong);
  world.throwViolation();
}

/** Those that stay are connected, whoever has left. */
function joinRest({ peers }: World): void {
  const rest = runningOf(peers).map(({ peer }) => peer);
  const reached = new Set<Peer>(rest.slice(0, 1));
  const isLinked = (a: Peer, b: Peer) => a.dials.has(b.number) || b.dials.has(a.number);
  while (reached.size < rest.length) {
    const near = rest.filter((peer) => reached.has(peer));
    const far = rest.filter((peer) => !reached.has(peer));
    const next = far.find((peer) => near.some((one) => isLinked(one, peer)));
    const [from] = near;
    const [to] = far;
    if (next === undefined && from !== undefined && to !== undefined) {
      from.dial(to.number, from.kindTo(to.number));
    }
    reached.add(next ?? (to as Peer));
  }
}

/** Changesets stamped in the future wait for their time. */
function aheadMs({ peers, time }: World): number {
  const stamps = runningOf(peers).map(({ running }) => native.status(running.handle).timestamp);
  return Math.max(0, Math.max(...stamps) / 8192 + epochMs - time.nowMs);
}

function vectors(peers: readonly Peer[]): string {
  return runningOf(peers)
    .map(({ peer, running }) => {
      const marks = running.replica
        .vector()
        .map((one) => `${one.peerId}.${one.held}/${one.merged}`);
      return `${peer.number}: ${marks.sort().join(" ")}`;
    })
    .join("; ");
}
