/** The faults stop: everything has to become equal, within bounds, and nothing may be missing. */
import { ReplicaError } from "../../src/errors.ts";
import { native } from "../../src/native.ts";
import { checkConverged, checkLinks, isQuiet, runningOf } from "./checks.ts";
import type { Peer } from "./peer.ts";
import type { World } from "./world.ts";

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
  await checkVerify(world);
  checkEnd(world);
  world.trace(`converged ${convergedMs}`);
  return convergedMs;
}

/** All peers go to a version, and have everything there soon. */
async function goTo(world: World, version: number): Promise<void> {
  const { time, peers } = world;
  const endMs = time.nowMs + convergeMsMax + aheadMs(world);
  const migrate = () => {
    for (const peer of peers) {
      peer.migrate();
      peer.upgrade(version);
    }
  };
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
  const pairs = runningOf(world.peers).flatMap((one) =>
    runningOf(world.peers)
      .filter((other) => one.peer.dials.has(other.peer.number))
      .map((other) => [one, other] as const),
  );
  if (pairs.length === 0) return;
  const [one, other] = world.chance.stream("verify").pick(pairs);
  const numbers = `${one.peer.number} and ${other.peer.number}`;
  let outcome: string | undefined;
  one.running.replica.verify(other.running.replica.peerId, { deep: true }).then(
    ({ differences }) => {
      outcome = differences === 0 ? "" : `${differences} differences`;
    },
    (error: unknown) => {
      // They have converged over others, and their own link is not up again yet.
      const isApart = error instanceof ReplicaError && error.code === "NOT_LINKED";
      outcome = isApart ? "" : String(error);
    },
  );
  for (let leftMs = verifyMsMax; outcome === undefined && leftMs > 0; leftMs -= stepMs) {
    await world.time.run(stepMs);
  }
  if (outcome !== "") world.fail(`verify of peers ${numbers}: ${outcome ?? "no answer"}`);
  world.throwViolation();
}

function checkEnd(world: World): void {
  for (const [origin, sequence] of world.ledger.guaranteed) {
    for (const peer of world.peers) {
      const held = peer.held.get(origin) ?? 0;
      if (peer.running === undefined || held >= sequence) continue;
      world.fail(`lost: peer ${peer.number} holds ${origin}.${held} of ${sequence}`);
    }
  }
  world.journal.finish(world.peers);
  const wrong = checkConverged(world.peers, world.ledger);
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
