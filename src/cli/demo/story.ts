/** Tells what happens in the demo, line by line, with the time since it began. */
import type { Clock } from "../../clock.ts";
import type { Output, Style } from "../output.ts";
import { formatCount } from "../output.ts";
import { behindOf, type PeerProcess } from "./cluster.ts";

const peerStyles: readonly Style[] = ["cyan", "magenta", "yellow", "blue"];
const timeWidth = 7;
const cellWidth = 7;
/** The table's head is said again when it has scrolled far. */
const linesPerHead = 20;

export class Story {
  readonly #output: Output;
  readonly #clock: Clock;
  readonly #isSilent: boolean;
  readonly #startedMs: number;
  #linesSinceHead = Number.POSITIVE_INFINITY;

  constructor({ output, clock, isSilent }: { output: Output; clock: Clock; isSilent: boolean }) {
    this.#output = output;
    this.#clock = clock;
    this.#isSilent = isSilent;
    this.#startedMs = clock.now();
  }

  get elapsedMs(): number {
    return this.#clock.now() - this.#startedMs;
  }

  say(text: string, style?: Style): void {
    this.#line(style === undefined ? text : this.#output.paint(style, text));
  }

  /** One row of the table: who reaches whom, what each has written, and how far each is behind. */
  row(peers: readonly PeerProcess[], groups: readonly (readonly PeerProcess[])[]): void {
    const networkWidth = Math.max(4 * peers.length - 3, "network".length);
    const columns = cellWidth * peers.length;
    if (this.#linesSinceHead >= linesPerHead) {
      const written = "written".padStart(columns);
      const behind = "behind".padStart(columns + 2);
      const names = peers.map((peer) => this.#name(peer, peer.name.padStart(cellWidth))).join("");
      this.#line(this.#output.paint("dim", `${"network".padEnd(networkWidth)}${written}${behind}`));
      this.#line(`${" ".repeat(networkWidth)}${names}  ${names}`);
      this.#linesSinceHead = 0;
    }
    const network = groups.map((group) => group.map((peer) => peer.name).join("-")).join(" | ");
    const number = (count: number) => formatCount(count).padStart(cellWidth);
    const written = peers.map((peer) => number(peer.report?.changes ?? 0)).join("");
    const behind = peers.map((peer) => this.#behind(behindOf(peer, peers))).join("");
    this.#line(`${network.padEnd(networkWidth)}${written}  ${behind}`);
  }

  #behind(count: number): string {
    const text = formatCount(count).padStart(cellWidth);
    return count > 100 ? this.#output.paint("red", text) : text;
  }

  #name(peer: PeerProcess, text: string): string {
    return this.#output.paint(peerStyles[peer.index % peerStyles.length] ?? "cyan", text);
  }

  #line(text: string): void {
    if (this.#isSilent) return;
    this.#linesSinceHead++;
    const seconds = `${(this.elapsedMs / 1000).toFixed(1)} s`.padStart(timeWidth);
    this.#output.line(`${this.#output.paint("dim", seconds)}  ${text}`.trimEnd());
  }
}
