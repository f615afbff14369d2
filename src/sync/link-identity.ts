/**
 * When the two sides of a link do not agree whose changesets go by this peer's id. Nothing is
 * merged or sent any more; the fingerprints tell who has to take a new id, and from which changeset
 * on.
 */
import type { ReplicaErrorCode } from "../errors.ts";
import {
  type LinkAction,
  type LinkState,
  negotiate,
  progressOf,
  refuse,
  send,
} from "./link-state.ts";
import type { Fingerprints, Hello } from "./protocol.ts";

export const lostIdentityText =
  "the remote holds changesets of this peer id that this replica does not have";
export const renewedText = "this peer has taken a new id";

/** Why this side does not go together with the sender of the HELLO, if it does not. */
export function refusalOf(
  state: LinkState,
  hello: Hello,
): { code: ReplicaErrorCode; text: string } | undefined {
  const { options, cluster, peerId, remotePeerId } = state;
  if (negotiate(options, hello) === 0) {
    const theirs = `${hello.minVersion} to ${hello.maxVersion}`;
    const ours = `${options.minVersion} to ${options.maxVersion}`;
    return { code: "VERSION_MISMATCH", text: `protocol ${theirs} offered, ${ours} spoken` };
  }
  if (hello.cluster !== cluster) {
    return { code: "CLUSTER_MISMATCH", text: `cluster "${hello.cluster}", not "${cluster}"` };
  }
  if (hello.peerId === peerId) {
    return { code: "PEER_ID_IN_USE", text: `both sides are peer ${peerId}` };
  }
  if (remotePeerId !== 0 && hello.peerId !== remotePeerId) {
    return { code: "LINK_CLOSED", text: `peer ${remotePeerId} became peer ${hello.peerId}` };
  }
  if ((hello.vector.get(peerId) ?? 0) > (state.origins.get(peerId)?.held ?? 0)) {
    return { code: "IDENTITY_LOST", text: lostIdentityText };
  }
  return undefined;
}

/** Waits for the remote's fingerprints, then for the host to close the link; but not for long. */
export function suspect(
  state: LinkState,
  actions: LinkAction[],
  refusal: { code: ReplicaErrorCode; text: string },
): void {
  state.phase = "suspect";
  state.suspicion = { ...refusal, dueMs: state.nowMs + state.options.ackTimeoutMs };
  const origin = state.peerId;
  // Of two with one id each tells the other; else the remote is asked what it knows of this side.
  if (refusal.code === "PEER_ID_IN_USE") actions.push({ type: "sendFingerprints", origin });
  else send(state, actions, { kind: "fingerprints", origin, fingerprints: [] });
}

export function onFingerprints(
  state: LinkState,
  actions: LinkAction[],
  message: Fingerprints,
): void {
  const { origin, fingerprints } = message;
  if (fingerprints.length > 0 && origin === state.peerId)
    actions.push({ type: "fingerprints", fingerprints });
  if (fingerprints.length === 0 && origin === state.remotePeerId) {
    actions.push({ type: "sendFingerprints", origin });
  }
}

/** Each side tells what it holds of the other's changesets: the file may have been put back. */
export function tellFingerprints(state: LinkState, actions: LinkAction[], hello: Hello): void {
  const held = progressOf(state, hello.peerId).held;
  if (held > 0) actions.push({ type: "sendFingerprints", origin: hello.peerId });
  const holdsOurs = (hello.vector.get(state.peerId) ?? 0) > 0;
  if (holdsOurs) state.unsureUntilMs = state.nowMs + state.options.ackTimeoutMs;
}

export function suspicionDueMs({ phase, suspicion, unsureUntilMs }: LinkState): number {
  if (phase === "suspect" && suspicion !== undefined) return suspicion.dueMs;
  return phase === "live" && unsureUntilMs > 0 ? unsureUntilMs : Number.POSITIVE_INFINITY;
}

export function runSuspicion(state: LinkState, actions: LinkAction[]): void {
  if (state.nowMs < suspicionDueMs(state)) return;
  const { phase, suspicion } = state;
  if (phase === "suspect" && suspicion !== undefined) {
    refuse(state, actions, suspicion.code, suspicion.text);
    return;
  }
  // The remote's log does not reach back to any of them, or they were lost.
  state.unsureUntilMs = 0;
  actions.push({ type: "remoteVector", vector: new Map() });
}
