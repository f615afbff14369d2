/** What each action of a plan does to the world. */
import type { Peer } from "./peer.ts";
import type { Action } from "./plan.ts";
import type { World } from "./world.ts";

export async function act(world: World, action: Action): Promise<void> {
  switch (action.do) {
    case "write":
      world.peerOf(action.peer).write(action, action.erase);
      return;
    case "burst":
      world.peerOf(action.peer).burst(action.count, action.statement);
      return;
    case "partition":
      partition(world, action);
      return;
    case "slow":
      slow(world, action);
      return;
    case "weather":
      world.network.weather = action.weather;
      later(world, action.ticks, () => {
        world.network.weather = world.plan.weather;
      });
      return;
    case "crash":
    case "power":
    case "close":
    case "restore":
      await takeDown(world, action);
      return;
    case "backup":
      world.peerOf(action.peer).takeBackup();
      return;
    case "copy":
    case "join":
      join(world, action);
      return;
    case "leave":
      await leave(world, action);
      return;
    case "forget":
      forget(world.peerOf(action.peer), world.peerOf(action.other).lastId);
      return;
    case "sabotage":
      await world.peerOf(action.peer).sabotage(action.sql);
      return;
    case "mute":
      world.network.mute(world.peerOf(action.peer).number, action.kind);
      return;
    case "vouch":
      world.vouches = true;
      return;
    case "clock":
      world.peerOf(action.peer).clock.set(action);
      world.peerOf(action.peer).tellTime();
      return;
    case "migrate":
      world.peerOf(action.peer).migrate();
      return;
    case "upgrade":
      world.peerOf(action.peer).upgrade(action.to);
      return;
    case "versioned write":
      world.peerOf(action.peer).writeVersioned(action.write);
      return;
    case "checkpoint":
      world.peerOf(action.peer).checkpoint();
      return;
    case "idle":
      await world.idle(action.ms);
  }
}

/** Unless the faults have stopped by then. */
function later(world: World, ticks: number, fn: () => void): void {
  world.time.after(ticks * world.plan.tickMs, () => {
    if (!world.healed) fn();
  });
}

/** Some peers on one side, the rest on the other. */
function partition(world: World, action: Action & { do: "partition" }): void {
  const { network } = world;
  const near = world.peers.filter(({ number }) => action.peers.includes(number));
  const far = world.peers.filter(({ number }) => !action.peers.includes(number));
  const pairs = near.flatMap((a) => far.map((b) => [a.number, b.number] as const));
  const change = (what: "block" | "unblock") => {
    for (const [a, b] of pairs) {
      if (action.way !== "in") network[what](a, b);
      if (action.way !== "out") network[what](b, a);
    }
  };
  const times = action.flaps * 2 + 1;
  for (let time = 0; time <= times; time++) {
    const what = time % 2 === 0 ? "block" : "unblock";
    later(world, (time * action.ticks) / times, () => change(what));
  }
}

function slow(world: World, action: Action & { do: "slow" }): void {
  const a = world.peerOf(action.peer).number;
  const b = world.peerOf(action.other).number;
  world.network.limit(a, b, 2);
  later(world, action.ticks, () => world.network.limit(a, b, undefined));
}

async function takeDown(
  world: World,
  action: Action & { do: "crash" | "power" | "close" | "restore" },
): Promise<void> {
  const peer = world.peerOf(action.peer);
  if (peer.running === undefined) return;
  if (action.do === "crash") await peer.kill({ inside: action.inside });
  else if (action.do === "close") peer.close();
  else {
    if (action.do === "restore" && peer.backup === undefined) return;
    world.look();
    if (action.do === "power") await peer.cutPower(action.keep);
    else await peer.restore(action);
    if (action.do === "restore" && action.inPlace) world.ledger.fork(peer.lastId);
    world.afterLoss(peer);
  }
  world.time.after(action.ticks * world.plan.tickMs, () => peer.start());
}

function join(world: World, action: Action & { do: "copy" | "join" }): void {
  const other = world.peerOf(action.other);
  const source = action.do === "copy" ? world.peerOf(action.peer) : undefined;
  if (source !== undefined && source.running === undefined) return;
  const peer = world.addPeer(action.plan);
  if (peer === undefined) return;
  if (other !== peer) peer.dials.add(other.number);
  if (source === undefined) peer.create();
  else {
    if (action.do === "copy" && action.twin) world.ledger.fork(source.peerId);
    peer.copyFrom(source, action.do === "copy" ? action : {});
  }
}

/** At least two stay. */
async function leave(world: World, action: Action & { do: "leave" }): Promise<void> {
  const staying = world.peers.filter(({ gone }) => !gone);
  const peer = world.peerOf(action.peer);
  if (staying.length <= 2 || peer.gone) return;
  const { lastId } = peer;
  world.look();
  await peer.leave();
  world.afterLoss(peer);
  if (action.forget) for (const other of world.peers) forget(other, lastId);
}

/** Those who have never linked with it have nothing to forget. */
function forget(peer: Peer, id: number): void {
  const known = peer.running?.replica.peers() ?? [];
  if (known.some(({ peerId }) => peerId === id)) peer.running?.replica.forget(id);
}
