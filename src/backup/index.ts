/** `mergelite/backup`: what is done with backups after they were shipped. */
export type { BackupFile, Chain, ChainOptions } from "../restore/chain.ts";
export { planChain, planTail } from "../restore/chain.ts";
export { listBackup } from "../restore/inventory.ts";
export type { RestorePoint } from "../restore/plan.ts";
export {
  type Restored,
  type RestoreIntoOptions,
  type RestoreOptions,
  type RestoreProgress,
  restore,
} from "../restore/restore.ts";
