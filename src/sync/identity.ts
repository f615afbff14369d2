/**
 * Whether a peer's own changesets are those that others know by their numbers. They are not when
 * the file went back in time and was written on, or when it has a living copy: then one number
 * stands for two changesets, and the fingerprints tell them apart.
 */
export interface Fingerprint {
  readonly sequence: number;
  readonly print: number;
}

/** Which changesets to name of so many: the newest, and then ever fewer; the newest first. */
export function namedSequences(held: number): number[] {
  const sequences: number[] = [];
  for (let back = 0; back < held; back = back === 0 ? 1 : back * 2) sequences.push(held - back);
  return sequences;
}

/**
 * Of one's own changesets those above `after` are not the others'; undefined when all are.
 * `fingerprintAt` gives 0 for a changeset that the log does not have any more.
 */
export function forkOf(
  theirs: readonly Fingerprint[],
  held: number,
  fingerprintAt: (sequence: number) => number,
): { after: number } | undefined {
  let after = 0;
  let isForked = false;
  for (const { sequence, print } of theirs) {
    if (sequence > held) {
      isForked = true;
      continue;
    }
    const ours = fingerprintAt(sequence);
    if (ours === print) after = Math.max(after, sequence);
    else if (ours !== 0) isForked = true;
  }
  return isForked ? { after } : undefined;
}

/** Of two that go by one id, the one that has written less yields; then it is a toss. */
export function yields(ours: Fingerprint, theirs: Fingerprint): boolean {
  if (ours.sequence !== theirs.sequence) return ours.sequence < theirs.sequence;
  return ours.print < theirs.print;
}
