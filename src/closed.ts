/** What a replica says once it is closed. */
import { ReplicaError } from "./errors.ts";
import type { Connection } from "./sync/hub.ts";
import type { Dialer, Transport } from "./transport/transport.ts";

/**
 * A peer that dials while this replica shuts down is hung up on; dialling from here is a mistake.
 */
export function refuse(to: Transport | Dialer): Connection {
  if ("dial" in to) throw closedError();
  const closed = Promise.resolve(to.close?.());
  return { name: to.name ?? "transport", closed, close: () => closed };
}

export function closedError(): ReplicaError {
  return new ReplicaError("CLOSED", "the replica is closed", {
    hint: "Call `attach` again to go on.",
  });
}
