/** A peer's network, which can be cut: links are closed, and none is made or accepted. */
import { ReplicaError } from "../../errors.ts";
import type { Replica } from "../../index.ts";
import type { Listener, Transport } from "../../transport/transport.ts";
import { listenWebSocket, webSocketTransport } from "../../transport/websocket.ts";

export class Network {
  readonly #index: number;
  readonly #replica: Replica;
  readonly #transportsByPeer = new Map<number, Transport[]>();
  #unreachable: ReadonlySet<number> = new Set();
  #wake: (() => void)[] = [];
  #listener: Listener | undefined;
  #isClosed = false;

  constructor(index: number, replica: Replica) {
    this.#index = index;
    this.#replica = replica;
  }

  /** Accepts peers on a free port of this machine; the path tells who calls. */
  async listen(): Promise<string> {
    const host = "127.0.0.1";
    this.#listener = await listenWebSocket({ host, port: 0 }, (transport, request) => {
      const caller = Number(request.url?.slice(1));
      if (this.#isClosed || this.#unreachable.has(caller)) void transport.close?.();
      else this.#replica.connect(this.#track(caller, transport));
    });
    return `ws://${host}:${this.#listener.port}`;
  }

  /** Keeps a link to this peer, whenever it can be reached. */
  dial(peer: number, url: string): void {
    const dialer = webSocketTransport(`${url}/${this.#index}`);
    this.#replica.connect({
      name: dialer.name,
      dial: async (signal) => {
        await this.#whenReachable(peer, signal);
        const transport = await dialer.dial(signal);
        if (!this.#unreachable.has(peer)) return this.#track(peer, transport);
        await transport.close?.();
        throw new ReplicaError("TRANSPORT_FAILED", `${dialer.name}: the network is cut`);
      },
    });
  }

  cut(from: readonly number[]): void {
    this.#unreachable = new Set(from);
    for (const peer of from) {
      for (const transport of this.#transportsByPeer.get(peer) ?? []) void transport.close?.();
      this.#transportsByPeer.delete(peer);
    }
    const wake = this.#wake;
    this.#wake = [];
    for (const one of wake) one();
  }

  /** Ends the replica as well: a peer that calls meanwhile would find it closed. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#replica.close();
    await this.#listener?.close();
  }

  #track(peer: number, transport: Transport): Transport {
    const transports = this.#transportsByPeer.get(peer) ?? [];
    this.#transportsByPeer.set(peer, [...transports, transport]);
    return transport;
  }

  /** Packets into a cut network are not answered: the attempt hangs. */
  async #whenReachable(peer: number, signal: AbortSignal): Promise<void> {
    const stop = () => {
      for (const wake of this.#wake) wake();
    };
    signal.addEventListener("abort", stop, { once: true });
    while (this.#unreachable.has(peer) && !signal.aborted) {
      await new Promise<void>((resolve) => this.#wake.push(resolve));
    }
    signal.removeEventListener("abort", stop);
    signal.throwIfAborted();
  }
}
