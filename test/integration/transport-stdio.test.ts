/** Pipes between real processes, and what happens when one of them does not behave. */
import { spawn } from "node:child_process";
import { afterEach, expect, it } from "vitest";
import { commandTransport, stdioTransport } from "../../src/transport/stdio.ts";
import type { Transport } from "../../src/transport/transport.ts";
import { read, readAll } from "../support/transports.ts";

const cleanups: (() => unknown)[] = [];
const never = new AbortController().signal;

afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

/** A program that sends back each message, and behaves otherwise as it is told. */
const echo = new URL("../support/stdio-echo.mjs", import.meta.url).pathname;

async function dial(...args: string[]): Promise<Transport> {
  const transport = await commandTransport(process.execPath, [echo, ...args]).dial(never);
  cleanups.push(() => transport.close?.());
  return transport;
}

it("carries messages to a program and back, each time it is started", async () => {
  for (let round = 0; round < 2; round++) {
    const transport = await dial();
    const messages = Array.from({ length: 500 }, (_, index) => new Uint8Array(index).fill(index));
    const reading = read(transport, messages.length);
    for (const message of messages) await transport.send(message);
    expect(await reading).toEqual(messages);
    await transport.close?.();
  }
});

it("carries 32 MB both ways at once, which no pipe holds", async () => {
  const transport = await dial();
  const messages = Array.from({ length: 32 }, (_, index) => new Uint8Array(1e6).fill(index));
  const reading = read(transport, messages.length);
  await Promise.all(messages.map((message) => transport.send(message)));
  const received = await reading;
  expect(received.map(({ byteLength, 7: byte }) => [byteLength, byte])).toEqual(
    messages.map(({ byteLength, 7: byte }) => [byteLength, byte]),
  );
});

it("makes the sender wait for a program that does not read", async () => {
  const transport = await dial("sleep");
  let sent = 0;
  const sending = (async () => {
    for (;;) {
      await transport.send(new Uint8Array(1e6));
      sent += 1;
    }
  })();
  const failed = expect(sending).rejects.toMatchObject({ code: "TRANSPORT_CLOSED" });
  await new Promise((resolve) => setTimeout(resolve, 1000));
  expect(sent).toBeLessThan(10);
  await transport.close?.();
  await failed;
});

it("ends in good order with a program that does", async () => {
  const transport = await dial("end");
  expect(await readAll(transport)).toEqual([Uint8Array.of(1)]);
});

it.each([
  ["exit", "code 7"],
  ["kill", "signal SIGKILL"],
])("fails with a program that fails: %s", async (how, text) => {
  const transport = await dial(how);
  await expect(readAll(transport)).rejects.toMatchObject({
    code: "TRANSPORT_FAILED",
    message: expect.stringContaining(text),
  });
});

it("refuses what is not a message", async () => {
  const transport = await dial("text");
  await expect(readAll(transport)).rejects.toMatchObject({ code: "MESSAGE_TOO_LARGE" });
});

it("does not dial a program that is not there", async () => {
  await expect(commandTransport("/no/such/program").dial(never)).rejects.toMatchObject({
    code: "TRANSPORT_FAILED",
    message: expect.stringContaining("ENOENT"),
  });
  const shell = await commandTransport("exit 127", [], { shell: true }).dial(never);
  await expect(readAll(shell)).rejects.toMatchObject({
    message: "exec:exit 127 ended with code 127",
  });
});

it("takes a child that was started elsewhere", async () => {
  const child = spawn(process.execPath, [echo], { stdio: ["pipe", "pipe", "inherit"] });
  const transport = stdioTransport(child);
  await transport.send(Uint8Array.of(4));
  expect(await read(transport)).toEqual([Uint8Array.of(4)]);
  await transport.close?.();
  const inherited = spawn(process.execPath, ["-e", ""], { stdio: "inherit" });
  expect(() => stdioTransport(inherited)).toThrow(TypeError);
});
