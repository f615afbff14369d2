/** A small typed emitter: `new Emitter<{ merged: MergedEvent }>()`. Works in every runtime. */

import { checkFunction } from "./arguments.ts";

export type Listener<Event> = (event: Event) => void;

/** Of one listener, which has one at a time: the last replaces those before. */
interface Registration {
  readonly call: Listener<never>;
}

export class Emitter<Events extends object> {
  readonly #names: Readonly<Record<keyof Events, true>> | undefined;
  readonly #listenersByName = new Map<keyof Events, Map<Listener<never>, Registration>>();

  /** With `names` a listener for any other event is a mistake, and a TypeError. */
  constructor(names?: Readonly<Record<keyof Events, true>>) {
    this.#names = names;
  }

  /** Calls `listener` for every event until the returned function is called or `signal` aborts. */
  on<Name extends keyof Events>(
    name: Name,
    listener: Listener<Events[Name]>,
    options: { signal?: AbortSignal | undefined } = {},
  ): () => void {
    return this.#add(name, listener, listener, options.signal);
  }

  /** Like {@link on}, for one event only. */
  once<Name extends keyof Events>(
    name: Name,
    listener: Listener<Events[Name]>,
    options: { signal?: AbortSignal | undefined } = {},
  ): () => void {
    const callOnce: Listener<Events[Name]> = (event) => {
      unsubscribe();
      listener(event);
    };
    const unsubscribe = this.#add(name, listener, callOnce, options.signal);
    return unsubscribe;
  }

  /** Does nothing when `listener` is not there. */
  off<Name extends keyof Events>(name: Name, listener: Listener<Events[Name]>): void {
    const listeners = this.#listenersByName.get(name);
    listeners?.delete(listener);
    if (listeners?.size === 0) this.#listenersByName.delete(name);
  }

  /** Calls the listeners there are now, in the order they came. */
  emit<Name extends keyof Events>(name: Name, event: Events[Name]): void {
    const listeners = this.#listenersByName.get(name);
    if (listeners === undefined) return;
    for (const { call } of [...listeners.values()]) {
      try {
        (call as Listener<Events[Name]>)(event);
      } catch (error) {
        // The listener's mistake must surface as an uncaught exception, as it would from a timer,
        // but neither the other listeners nor the emitting code may suffer from it.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }

  listenerCount(name: keyof Events): number {
    return this.#listenersByName.get(name)?.size ?? 0;
  }

  #add<Name extends keyof Events>(
    name: Name,
    listener: Listener<Events[Name]>,
    call: Listener<Events[Name]>,
    signal: AbortSignal | undefined,
  ): () => void {
    checkFunction(listener, "an event's listener");
    if (this.#names !== undefined && !Object.hasOwn(this.#names, name)) {
      const known = Object.keys(this.#names).join(", ");
      throw new TypeError(`no event "${String(name)}": there are ${known}`);
    }
    const registration: Registration = { call };
    const unsubscribe = () => {
      signal?.removeEventListener("abort", unsubscribe);
      // Called again, or late, it must not end what came after it.
      const current = this.#listenersByName.get(name)?.get(listener);
      if (current === registration) this.off(name, listener);
    };
    if (signal?.aborted) return unsubscribe;
    let listeners = this.#listenersByName.get(name);
    if (listeners === undefined) {
      listeners = new Map();
      this.#listenersByName.set(name, listeners);
    }
    listeners.set(listener, registration);
    signal?.addEventListener("abort", unsubscribe, { once: true });
    return unsubscribe;
  }
}
