// Sends back each message that comes over stdin, until it ends; or does as its argument says.
import { stdioTransport } from "../../dist/transport/stdio.js";

const [how] = process.argv.slice(2);
if (how === "text") {
  process.stdout.write("Welcome to host.example!\n");
} else if (how === "sleep") {
  setTimeout(() => undefined, 60_000);
} else {
  const transport = stdioTransport(process);
  if (how === undefined) {
    for await (const message of transport.messages) await transport.send(message);
  } else {
    await transport.send(Uint8Array.of(1));
    if (how === "kill") process.kill(process.pid, "SIGKILL");
    await transport.close();
    if (how === "exit") process.exit(7);
  }
}
