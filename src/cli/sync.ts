/** `mergelite sync`: brings two peers together once. */
import type { Replica } from "../index.ts";
import type { Dialer } from "../transport/transport.ts";
import { dialerFor, isUrl, parseUrl } from "./addresses.ts";
import { type Command, type CommandInput, clusterOption, jsonOption } from "./command.ts";
import { type Credentials, credentialOptions, readCredentials } from "./credentials.ts";
import { requireTwoFiles } from "./database.ts";
import { parseCommand } from "./exec.ts";
import { exitCodes, usageFailure } from "./failure.ts";
import {
  dialerTo,
  type LinkOptions,
  readTimeoutMs,
  timeoutOption,
  withLink,
  withReplica,
} from "./linked.ts";
import { formatCount, type Output, plural } from "./output.ts";
import { interruptSignal } from "./signals.ts";

export const sync: Command = {
  name: "sync",
  usage: "FILE (FILE|URL|--exec COMMAND)",
  summary: "exchange changes with another file or a running peer, once",
  description: `Exchanges changesets both ways between FILE and another file, the peer at URL (ws, wss,
http, https, tcp, tls or udp), or a peer that COMMAND starts, until each holds all that the
other held:

  mergelite sync app.db --exec "ssh host mergelite serve app.db --stdio"`,
  options: {
    exec: {
      type: "string",
      value: "COMMAND",
      help: "start a peer, and talk to its stdin and stdout",
    },
    cluster: clusterOption,
    timeout: timeoutOption,
    ...credentialOptions,
    json: jsonOption,
  },
  positionals: [1, 2],
  run: syncOnce,
};

interface Received {
  changesets: number;
  patches: number;
  lost: number;
  parked: number;
}

interface SyncResult {
  readonly file: string;
  readonly peerId: number;
  readonly other: string;
  readonly otherPeerId: number;
  readonly received: Received;
  readonly sent: { changesets: number };
}

async function syncOnce({ arguments: [file = "", other], values, output }: CommandInput) {
  const command = values.text("exec");
  if ((command === undefined) === (other === undefined)) {
    throw usageFailure("name one other side: a file, a URL, or --exec");
  }
  const name = other ?? command ?? "";
  const dialer = await dialerOf(command, name, readCredentials(values));
  const options = {
    name,
    timeoutMs: readTimeoutMs(values),
    signal: interruptSignal(),
    cluster: values.text("cluster"),
    output,
  };
  const result =
    dialer === undefined
      ? await syncWithFile(file, name, options)
      : await syncOver(dialer, file, options);
  if (values.flag("json")) output.document(result);
  else print(result, output);
  return exitCodes.done;
}

/** None for a file. */
async function dialerOf(
  command: string | undefined,
  name: string,
  credentials: Credentials,
): Promise<Dialer | undefined> {
  if (command !== undefined) {
    const { commandTransport } = await import("../transport/stdio.ts");
    const { program, args } = parseCommand(command);
    return commandTransport(program, args);
  }
  return isUrl(name) ? dialerFor(parseUrl(name, credentials), credentials) : undefined;
}

type SyncOptions = LinkOptions & { cluster: string | undefined; output: Output };

async function syncOver(dialer: Dialer, file: string, options: SyncOptions): Promise<SyncResult> {
  return withReplica(file, options.cluster, (replica) => {
    const received = countReceived(replica, options.output);
    return withLink(replica, dialer, options, async (otherPeerId, signal) => {
      const changesets = behind(replica);
      await replica.synced({ signal });
      const { peerId } = replica;
      const other = options.name;
      return { file, peerId, other, otherPeerId, received, sent: { changesets } };
    });
  });
}

async function syncWithFile(
  file: string,
  other: string,
  options: SyncOptions,
): Promise<SyncResult> {
  requireTwoFiles(file, other);
  return withReplica(file, options.cluster, (here) =>
    withReplica(other, options.cluster, async (there) => {
      const received = countReceived(here, options.output);
      return withLink(here, dialerTo(there, other), options, async (otherPeerId, signal) => {
        const changesets = behind(here);
        await Promise.all([here.synced({ signal }), there.synced({ signal })]);
        const { peerId } = here;
        return { file, peerId, other, otherPeerId, received, sent: { changesets } };
      });
    }),
  );
}

/** Changesets that the other side does not have yet. */
function behind(replica: Replica): number {
  return replica.status().links.reduce((sum, link) => sum + link.behind, 0);
}

function countReceived(replica: Replica, output: Output): Received {
  const received: Received = { changesets: 0, patches: 0, lost: 0, parked: 0 };
  replica.on("merge", (slice) => {
    for (const name of Object.keys(received) as (keyof Received)[]) received[name] += slice[name];
    output.progress(`received ${plural(received.changesets, "changeset")}`);
  });
  return received;
}

function print({ otherPeerId, other, received, sent }: SyncResult, output: Output): void {
  const { changesets, patches, lost, parked } = received;
  const notes = [
    lost > 0 ? `${formatCount(lost)} older than what is here` : "",
    parked > 0 ? `${formatCount(parked)} parked` : "",
  ].filter((note) => note !== "");
  const detail = notes.length === 0 ? "" : ` (${notes.join(", ")})`;
  output.line(
    `received  ${plural(changesets, "changeset")}, ${plural(patches, "patch", "patches")}${detail}`,
  );
  output.line(`sent      ${plural(sent.changesets, "changeset")}`);
  output.line(`in sync with peer ${otherPeerId}, ${other}`);
}
