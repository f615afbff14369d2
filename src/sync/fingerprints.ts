/** Fingerprints read from the log, and what follows from those that a remote has sent. */
import type { OriginMarks, Store } from "../log/store.ts";
import { type Fingerprint, forkOf, namedSequences, yields } from "./identity.ts";
import type { LinkHost } from "./link-host.ts";
import { lostIdentityText, renewedText } from "./link-identity.ts";

/** What is held of the origin, as far as the log has it. */
export function fingerprintsOf(
  store: Store,
  marks: readonly OriginMarks[],
  origin: number,
): Fingerprint[] {
  const held = marks.find(({ peerId }) => peerId === origin)?.held ?? 0;
  return namedSequences(held)
    .map((sequence) => ({ sequence, print: store.fingerprintAt(origin, sequence) }))
    .filter(({ print }) => print > 0);
}

/** The remote of the link holds `theirs` under our own id: ends the link if that is not what we do. */
export function compareFingerprints(
  store: Store,
  self: OriginMarks | undefined,
  { link, theirs }: { link: LinkHost; theirs: readonly Fingerprint[] },
): void {
  const [newest] = theirs;
  if (self === undefined || newest === undefined) return;
  // They are those of a former id, of which they tell nothing new.
  if (link.ownPeerId !== self.peerId) {
    link.close("LINK_CLOSED", renewedText);
    return;
  }
  const fingerprintAt = (sequence: number) => store.fingerprintAt(self.peerId, sequence);
  const fork = forkOf(theirs, self.held, fingerprintAt);
  const isTwin = link.suspicion === "PEER_ID_IN_USE";
  const ours = { sequence: self.held, print: fingerprintAt(self.held) };
  if (fork !== undefined && (!isTwin || yields(ours, newest))) {
    link.forkedAfter = fork.after;
    link.close("IDENTITY_LOST", lostIdentityText);
  } else if (isTwin) {
    link.close("PEER_ID_IN_USE", `both sides are peer ${self.peerId}`);
  } else if (link.suspicion !== undefined) {
    // Another process on the same file has just committed what seemed to be missing.
    link.close("LINK_CLOSED", "the log has grown meanwhile");
  } else {
    link.trust();
  }
}
