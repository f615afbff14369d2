/** `mergelite/http`: peers that can only send requests. */

export { type HttpOptions, httpTransport } from "../transport/http.ts";
export type { Dialer, Listener, Transport } from "../transport/transport.ts";
export { type HttpEndpoint, type HttpEndpointOptions, httpEndpoint } from "./endpoint.ts";
export { type HttpListenOptions, listenHttp } from "./listen.ts";
export { type SyncedOnce, type SyncOnceOptions, syncOnce } from "./once.ts";
export {
  type Refusal,
  type TokenGate,
  type TokenGateOptions,
  tokenGate,
  tokenHeader,
} from "./token-gate.ts";
