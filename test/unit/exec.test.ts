/** How `--exec` reads a command line. */
import { ChildProcess } from "node:child_process";
import { expect, test, vi } from "vitest";
import { parseCommand, runChild } from "../../src/cli/exec.ts";

test.each([
  ["node server.js", "node", ["server.js"]],
  ["  node\tserver.js \n", "node", ["server.js"]],
  [`"/a b/node" 'it is "so"' x"y z"'w'`, "/a b/node", ['it is "so"', "xy zw"]],
  [`sh -c 'exec server --port $PORT'`, "sh", ["-c", "exec server --port $PORT"]],
  [`true ""`, "true", [""]],
  [String.raw`C:\bin\app.exe \x`, String.raw`C:\bin\app.exe`, [String.raw`\x`]],
])("%s", (text, program, args) => {
  expect(parseCommand(text)).toEqual({ program, args });
});

test.each(["", "  ", `""`, `node "a`, "it's"])("%j is no command", (text) => {
  expect(() => parseCommand(text)).toThrow(/--exec/);
});

test("who was interrupted before begins nothing", async () => {
  const interrupted = AbortSignal.abort(new Error("interrupted"));
  const child = { program: process.execPath, args: ["-e", "process.exit(5)"] };
  const stop = new AbortController().signal;
  await expect(runChild(child, { interrupted, stop })).rejects.toThrow("interrupted");
  await expect(runChild(child, { interrupted: stop, stop })).resolves.toBe(5);
});

test("who may not be sent signals is waited for", async () => {
  const kill = vi.spyOn(ChildProcess.prototype, "kill").mockImplementation(function (
    this: ChildProcess,
  ) {
    return !this.emit("error", new Error("kill EPERM"));
  });
  const child = { program: process.execPath, args: ["-e", "setTimeout(process.exit, 300, 6)"] };
  const interrupted = new AbortController().signal;
  const stop = AbortSignal.timeout(10);
  await expect(runChild(child, { interrupted, stop })).resolves.toBe(6);
  expect(kill).toHaveBeenCalledOnce();
  kill.mockRestore();
  const missing = { program: "./no-such-program", args: [] };
  await expect(runChild(missing, { interrupted })).rejects.toThrow("cannot run ./no-such-program");
});
