/** `mergelite/backup`: what is done with backups after they were shipped. */
export {
  type FormatOptions,
  joinOpenMetrics,
  type Labelled,
  type Labels,
  openMetricsContentType,
} from "../metrics-text.ts";
export type { BackupFile, Chain, ChainOptions } from "../restore/chain.ts";
export { planChain, planTail } from "../restore/chain.ts";
export {
  type Follower,
  type FollowMetrics,
  type FollowOptions,
  follow,
} from "../restore/follow.ts";
export type { FollowEvents, FollowPosition } from "../restore/follow-state.ts";
export { listBackup } from "../restore/inventory.ts";
export { formatFollowerMetrics } from "../restore/open-metrics.ts";
export type { RestorePoint } from "../restore/plan.ts";
export {
  type Restored,
  type RestoreIntoOptions,
  type RestoreOptions,
  type RestoreProgress,
  restore,
} from "../restore/restore.ts";
export { type BackupLevel, type BackupList, type BackupPoint, backups } from "./backups.ts";
export { type CompactOptions, compact } from "./compact.ts";
export {
  BackupKeeper,
  type KeeperOptions,
  type OpenKeeperOptions,
  type Proof,
  type Tended,
  type TendOptions,
} from "./keeper.ts";
export {
  type CompactionLevels,
  type CompactionStep,
  levelDefaults,
  planCompaction,
  type TimedFile,
} from "./levels.ts";
export { type PrunePlan, planPrune, type Retention, retentionDefaults } from "./retention.ts";
export { type Verified, type VerifyOptions, verifyBackup } from "./verify.ts";
