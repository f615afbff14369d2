/** `mergelite/live`: a database's commits, streamed to followers as they are made. */
export {
  type FormatOptions,
  joinOpenMetrics,
  type Labelled,
  type Labels,
  openMetricsContentType,
} from "../metrics-text.ts";
export { formatWalServerMetrics } from "./open-metrics.ts";
export type { ServeWalOptions } from "./options.ts";
export {
  type FollowerInfo,
  serveWal,
  type WalServer,
  type WalServerEvents,
  type WalServerMetrics,
} from "./primary.ts";
