/** `mergelite/ltx`: files of pages, in the format that Litestream reads and writes. */
export { applyLtx } from "./apply.ts";
export { type Compaction, compactionInputsMax, compactLtx } from "./compact.ts";
export {
  decodeLtxHeader,
  isSnapshot,
  type LtxHeader,
  type LtxWalPosition,
  lastPageOf,
  lockPageOf,
  ltxHeaderBytes,
} from "./header.ts";
export {
  formatTxid,
  type LevelStyle,
  type LtxFile,
  levelStyleOf,
  ltxKey,
  ltxLevelPrefix,
  ltxPrefix,
  parseLtxKey,
  parseTxid,
  snapshotLevel,
} from "./keys.ts";
export { batchBytes, batchPagesOf, type PageBatch, pageChecksums } from "./pages.ts";
export { LtxReader, type LtxReaderOptions } from "./reader.ts";
export { encodeLtx, encodeLtxFile } from "./writer.ts";
