/**
 * Where LTX files lie below the root of a backup: Litestream's layout, so that either program finds
 * the other's files: `ltx/<level>/<first transaction>-<last transaction>.ltx`, and on S3
 * `000<level>/<first transaction>-<last transaction>.ltx`.
 */

/** A file as its key names it. */
export interface LtxFile {
  /** 0: as shipped; 1 to 8: compacted; 9: snapshots. */
  readonly level: number;
  readonly minTxid: number;
  readonly maxTxid: number;
}

export const snapshotLevel = 9;

/** `wide` on S3, `plain` elsewhere. */
export type LevelStyle = "plain" | "wide";

/** For a storage of that kind. */
export function levelStyleOf({ kind }: { readonly kind: string }): LevelStyle {
  return kind === "s3" ? "wide" : "plain";
}

/** What the keys of all levels begin with. */
export function ltxPrefix(style: LevelStyle): string {
  return style === "wide" ? "000" : "ltx/";
}

/** The folder of a level, with a slash at its end. */
export function ltxLevelPrefix(level: number, style: LevelStyle): string {
  return `${ltxPrefix(style)}${level}/`;
}

export function ltxKey(file: LtxFile, style: LevelStyle): string {
  const folder = ltxLevelPrefix(file.level, style);
  return `${folder}${formatTxid(file.minTxid)}-${formatTxid(file.maxTxid)}.ltx`;
}

/** `undefined` for what is not the key of an LTX file of ours or Litestream's. */
export function parseLtxKey(key: string): LtxFile | undefined {
  const match = /^(?:ltx\/|000)(\d)\/([0-9a-f]{16})-([0-9a-f]{16})\.ltx$/.exec(key);
  if (match === null) return undefined;
  const [, level = "", first = "", last = ""] = match;
  const minTxid = parseTxid(first);
  const maxTxid = parseTxid(last);
  if (minTxid === undefined || maxTxid === undefined || minTxid > maxTxid) return undefined;
  return { level: Number(level), minTxid, maxTxid };
}

/** 16 hexadecimal digits. */
export function formatTxid(txid: number): string {
  return txid.toString(16).padStart(16, "0");
}

/** `undefined` unless it is 16 hexadecimal digits of a number from 1 to 2^53 - 1. */
export function parseTxid(text: string): number | undefined {
  if (!/^[0-9a-f]{16}$/.test(text)) return undefined;
  const txid = Number.parseInt(text, 16);
  return Number.isSafeInteger(txid) && txid > 0 ? txid : undefined;
}
