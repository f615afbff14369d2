/** Signals that many wait for: Node warns of a leak when one has more than ten listeners. */

const waitingBySignal = new WeakMap<AbortSignal, Set<() => void>>();

/**
 * Calls `fn` when the signal aborts, unless the returned function is called before. A signal has one
 * listener for all of them. For one that has aborted already nothing is called.
 */
export function onAbort(signal: AbortSignal, fn: () => void): () => void {
  const waiting = waitingBySignal.get(signal) ?? listenTo(signal);
  // One function may be given twice.
  const call = () => fn();
  waiting.add(call);
  return () => void waiting.delete(call);
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
