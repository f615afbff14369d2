/** `mergelite/live`: a database's commits, streamed to followers as they are made. */
export type { ServeWalOptions } from "./options.ts";
export {
  type FollowerInfo,
  serveWal,
  type WalServer,
  type WalServerEvents,
  type WalServerMetrics,
} from "./primary.ts";
