/** Signals that many wait for: Node warns of a leak when one has more than ten listeners. */

const waitingBySignal = new WeakMap<AbortSignal, Set<() => void>>();

/**
 * Calls `fn` when the signal aborts, unless the returned function is called before. A signal has one
 * listener for all of them. For one that has aborted already nothing is called, nor without one.
 */
export function onAbort(signal: AbortSignal | undefined, fn: () => void): () => void {
  if (signal === undefined) return () => {};
  const waiting = waitingBySignal.get(signal) ?? listenTo(signal);
  // One function may be given twice.
  const call = () => fn();
  waiting.add(call);
  return () => void waiting.delete(call);
}

/** What `promise` gives, or the signal's reason if that comes first. */
export async function untilAborted<T>(
  promise: Promise<T>,
  signal: AbortSignal | undefined,
): Promise<T> {
  if (signal === undefined) return await promise;
  promise.catch(() => {});
  signal.throwIfAborted();
  let off = () => {};
  const aborted = new Promise<never>((_, reject) => {
    off = onAbort(signal, () => reject(signal.reason));
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    off();
  }
}

function listenTo(signal: AbortSignal): Set<() => void> {
  const waiting = new Set<() => void>();
  waitingBySignal.set(signal, waiting);
  const tell = () => {
    for (const call of [...waiting]) call();
  };
  signal.addEventListener("abort", tell, { once: true });
  return waiting;
}
