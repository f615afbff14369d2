/** Followers of a database: where they connect, and what is told of them. */
import type { IncomingMessage } from "node:http";
import { systemClock } from "../clock.ts";
import type { FollowerInfo, WalServer } from "../live/index.ts";
import { formatTxid } from "../ltx/keys.ts";
import { listenWebSocket } from "../transport/websocket.ts";
import { formatAddress, type ListenAddress, parseListenAddress } from "./addresses.ts";
import type { OptionSpec, Values } from "./command.ts";
import {
  type Credentials,
  credentialOptions,
  isAuthorized,
  readCredentials,
} from "./credentials.ts";
import { usageFailure } from "./failure.ts";
import { reasonOf } from "./linked.ts";
import { type ReportOptions, tellWhere } from "./output.ts";

const { cert, key, token, "token-file": tokenFile } = credentialOptions;

export const followerOptions: Readonly<Record<string, OptionSpec>> = {
  listen: { type: "string", value: "HOST:PORT", help: "where followers connect; port 0 is any" },
  cert,
  key,
  token,
  "token-file": tokenFile,
};

export interface FollowersPlace {
  readonly address: ListenAddress;
  readonly credentials: Credentials;
}

/** `undefined` without `--listen`. */
export function readFollowersPlace(values: Values): FollowersPlace | undefined {
  const text = values.text("listen");
  if (text === undefined) {
    const [stray] = Object.keys(followerOptions).filter((name) => values.text(name) !== undefined);
    if (stray === undefined) return undefined;
    throw usageFailure(`--${stray} is for followers: --listen is needed`);
  }
  const credentials = readCredentials(values);
  const address = parseListenAddress(text, credentials);
  if (!["ws", "wss"].includes(address.scheme)) {
    throw usageFailure(`followers connect over WebSockets, not ${address.scheme}`);
  }
  requireToken(address.host, credentials);
  return { address, credentials };
}

const drainMs = 5_000;

/** Lets followers in from now on. Returns what sends them what is left, and ends it all. */
export async function listenForFollowers(
  server: WalServer,
  { address, credentials }: FollowersPlace,
  options: ReportOptions,
): Promise<() => Promise<void>> {
  const { identity } = credentials;
  const tls = identity === undefined ? {} : { tls: identity };
  const authorize = ({ headers }: IncomingMessage) =>
    isAuthorized(credentials, headers.authorization);
  const { host, port } = address;
  const listener = await listenWebSocket({ host, port, ...tls, authorize }, (transport) =>
    server.accept(transport),
  );
  const scheme = identity === undefined ? "ws" : "wss";
  const url = formatAddress({ ...address, scheme, port: listener.port });
  tellWhere("listening", url, options);
  report(server, options);
  return async () => {
    await server.flush({ signal: AbortSignal.timeout(drainMs) }).catch(() => {});
    await server.close();
    await listener.close();
  };
}

/** A whole database is given to whoever asks. */
function requireToken(host: string, { token }: Credentials): void {
  const isOwn = /^(localhost|127(\.\d{1,3}){3}|::1)$/.test(host);
  if (token !== undefined || isOwn) return;
  throw usageFailure(
    `a token is needed to listen on ${host}: --token-file FILE, MERGELITE_TOKEN or --token`,
  );
}

function report(server: WalServer, { output, isJson, isQuiet = false }: ReportOptions): void {
  const tell = (event: string, data: object, text: string) => {
    if (isQuiet) return;
    const time = new Date(systemClock.now()).toISOString();
    if (isJson) output.json({ event, time, ...data });
    else output.line(`${output.paint("dim", time)}  ${text}`);
  };
  const dataOf = ({ name, txid }: FollowerInfo) => ({ name, position: formatTxid(txid) });
  server.on("follower", (follower) => {
    const { position } = dataOf(follower);
    const how = follower.txid === 0 ? "gets all pages" : `goes on from ${position}`;
    tell("follower", dataOf(follower), `follower ${follower.name} ${how}`);
  });
  server.on("left", ({ error, ...follower }) => {
    const reason = error === undefined ? undefined : reasonOf(error);
    const why = reason === undefined ? "" : `: ${reason}`;
    const data = { ...dataOf(follower), ...(reason === undefined ? {} : { reason }) };
    tell("left", data, `follower ${follower.name} left at ${data.position}${why}`);
  });
  server.on("rebase", ({ reason, pages }) => {
    tell("rebase", { reason, pages }, `compared all pages (${reason}): ${pages} had changed`);
  });
  server.on("failed", ({ error }) => output.error(`warning: ${reasonOf(error)}`));
}
