/** A network between two UDP sockets that loses, repeats, delays and alters what it carries. */
import { createSocket, type Socket } from "node:dgram";
import { host } from "./transports.ts";

export interface Weather {
  /** Odds for each datagram. */
  readonly loss: number;
  readonly repeat: number;
  readonly alter: number;
  /** Each is late by up to so much, and so some overtake others. */
  readonly lateMs: number;
  readonly random: () => number;
}

export interface Proxy {
  readonly port: number;
  readonly carried: { datagrams: number; lost: number };
  close(): void;
}

/** Every client gets a socket of its own towards the server, as a NAT would give it. */
export async function udpProxy(serverPort: number, weather: Weather): Promise<Proxy> {
  const front = createSocket("udp4");
  const backs = new Map<number, Socket>();
  const carried = { datagrams: 0, lost: 0 };
  const carry = (bytes: Uint8Array, deliver: (bytes: Uint8Array) => void) => {
    const { random } = weather;
    carried.datagrams += 1;
    if (random() < weather.loss) {
      carried.lost += 1;
      return;
    }
    const copy = Uint8Array.from(bytes);
    if (random() < weather.alter) copy[Math.floor(random() * copy.length)] = 255 * random();
    const times = random() < weather.repeat ? 2 : 1;
    for (let i = 0; i < times; i++) setTimeout(() => deliver(copy), random() * weather.lateMs);
  };
  const backFor = (clientPort: number) => {
    const known = backs.get(clientPort);
    if (known !== undefined) return known;
    const back = createSocket("udp4");
    backs.set(clientPort, back);
    back.on("error", () => undefined);
    back.on("message", (bytes) => {
      carry(bytes, (copy) => {
        if (backs.size > 0) front.send(copy, clientPort, host);
      });
    });
    return back;
  };
  front.on("message", (bytes, { port }) => {
    const back = backFor(port);
    carry(bytes, (copy) => {
      if (backs.size > 0) back.send(copy, serverPort, host);
    });
  });
  await new Promise<void>((resolve) => front.bind(0, host, resolve));
  const close = () => {
    for (const back of backs.values()) back.close();
    backs.clear();
    front.close();
  };
  return { port: front.address().port, carried, close };
}
