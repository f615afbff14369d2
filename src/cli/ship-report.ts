/** What `mergelite ship` says while it ships. */

import { messageOf } from "../errors.ts";
import { formatTxid } from "../ltx/keys.ts";
import type { Shipper } from "../ship/index.ts";
import type { RebaseReason } from "../ship/shipper-events.ts";
import type { Storage } from "../storage/storage.ts";
import { formatBytes } from "./backup-url.ts";
import { type Output, plural } from "./output.ts";

export interface ReportOptions {
  readonly file: string;
  readonly storages: readonly Storage[];
  readonly output: Output;
  /** The output is a child's: warnings only. */
  readonly isQuiet: boolean;
  readonly isJson: boolean;
}

const whys: Readonly<Record<RebaseReason, string>> = {
  start: "nothing was known of them",
  wal: "the WAL alone did not tell",
  storage: "the storage holds what was not shipped from here",
  queue: "too much waited",
};

export function report(shipper: Shipper, options: ReportOptions): void {
  const { file, output, isJson } = options;
  const tell = (event: object, text: string) => {
    if (options.isQuiet) return;
    if (isJson) output.json(event);
    else output.line(`${file}: ${text}`);
  };
  if (!isJson) {
    for (const { name } of options.storages) tell({}, `shipping to ${name}`);
  }
  shipper.on("shipped", ({ storage, minTxid, maxTxid, bytes }) => {
    const position = formatTxid(maxTxid);
    const transactions = maxTxid - minTxid + 1;
    const counted = `${plural(transactions, "transaction")}, ${formatBytes(bytes)}`;
    tell(
      { event: "shipped", file, storage, position, transactions, bytes },
      `${position}: ${counted}`,
    );
  });
  shipper.on("rebase", ({ reason, pages }) => {
    const text = `compared all pages, for ${whys[reason]}: ${plural(pages, "page")} had changed`;
    tell({ event: "rebase", file, reason, pages }, text);
  });
  tellOfKeeping(shipper, file, tell);
  shipper.on("waiting", ({ storage, label, leftMs }) => {
    const event = { event: "waiting", file, storage, label, leftMs: Math.round(leftMs) };
    if (isJson) tell(event, "");
    else output.error(`${file}: ${label} ships to ${storage}: waiting for its end`);
  });
  shipper.on("recovered", ({ storage }) => {
    output.error(`${file}: ${storage} is there again`);
  });
  shipper.on("failed", ({ error, retryMs }) => {
    const again = retryMs > 0 ? `; trying again in ${Math.round(retryMs)} ms` : "";
    output.error(`warning: ${file}: ${messageOf(error)}${again}`);
  });
}

function tellOfKeeping(
  shipper: Shipper,
  file: string,
  tell: (event: object, text: string) => void,
): void {
  shipper.on("compacted", ({ storage, level, maxTxid, bytes, files }) => {
    const position = formatTxid(maxTxid);
    const into = level === 9 ? "a snapshot" : `one of level ${level}`;
    const text = `${position}: ${plural(files, "file")} joined into ${into}, ${formatBytes(bytes)}`;
    tell({ event: "compacted", file, storage, level, position, files, bytes }, text);
  });
  shipper.on("verified", ({ storage, txid, checksum }) => {
    const position = formatTxid(txid);
    const text = `${position}: restored from ${storage}, compared and checked: sound`;
    tell({ event: "verified", file, storage, position, checksum }, text);
  });
  shipper.on("pruned", ({ storage, files, bytes }) => {
    const text = `${plural(files, "old file")} deleted, ${formatBytes(bytes)}`;
    tell({ event: "pruned", file, storage, files, bytes }, text);
  });
}
