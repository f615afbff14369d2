import { describe, expect, it } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { Emitter } from "../../src/events.ts";

interface Events {
  grew: number;
  closed: string;
}

describe("Emitter", () => {
  it("calls listeners in order until they unsubscribe", () => {
    const emitter = new Emitter<Events>();
    const heard: string[] = [];
    const off = emitter.on("grew", (count) => heard.push(`a${count}`));
    const listener = (count: number) => heard.push(`b${count}`);
    emitter.on("grew", listener);
    emitter.once("grew", (count) => heard.push(`c${count}`));
    emitter.emit("grew", 1);
    off();
    emitter.emit("grew", 2);
    emitter.off("grew", listener);
    emitter.emit("grew", 3);
    emitter.emit("closed", "never heard");
    expect(heard).toEqual(["a1", "b1", "c1", "b2"]);
    expect(emitter.listenerCount("grew")).toBe(0);
  });

  it("forgets listeners whose signal aborts", () => {
    const emitter = new Emitter<Events>();
    const controller = new AbortController();
    const heard: number[] = [];
    emitter.on("grew", (count) => heard.push(count), { signal: controller.signal });
    emitter.emit("grew", 1);
    controller.abort();
    emitter.emit("grew", 2);
    emitter.on("grew", (count) => heard.push(count), { signal: controller.signal });
    emitter.emit("grew", 3);
    expect(heard).toEqual([1]);
  });

  it("does not end a later registration of a listener with an earlier one", () => {
    const emitter = new Emitter<Events>();
    const controller = new AbortController();
    const heard: number[] = [];
    const listener = (count: number) => heard.push(count);
    const off = emitter.on("grew", listener);
    off();
    const offOnce = emitter.once("grew", listener);
    off();
    emitter.emit("grew", 1);
    emitter.on("grew", listener, { signal: controller.signal });
    offOnce();
    emitter.emit("grew", 2);
    const offLast = emitter.on("grew", listener);
    controller.abort();
    emitter.emit("grew", 3);
    offLast();
    emitter.emit("grew", 4);
    expect(heard).toEqual([1, 2, 3]);
    expect(emitter.listenerCount("grew")).toBe(0);
  });

  it("goes on when a listener throws, and the error surfaces by itself", async () => {
    const emitter = new Emitter<Events>();
    const failure = new Error("the listener's own");
    const heard: number[] = [];
    emitter.on("grew", () => {
      throw failure;
    });
    emitter.on("grew", (count) => heard.push(count));
    const others = process.listeners("uncaughtException");
    process.removeAllListeners("uncaughtException");
    const surfaced = new Promise((resolve) => process.once("uncaughtException", resolve));
    emitter.emit("grew", 1);
    expect(heard).toEqual([1]);
    expect(await surfaced).toBe(failure);
    for (const listener of others) process.on("uncaughtException", listener);
  });
});

describe("systemClock", () => {
  it("stops sleeping at the abort, with its reason", async () => {
    const reason = new Error("enough");
    const controller = new AbortController();
    const sleeping = systemClock.sleep(1_000_000, { signal: controller.signal });
    controller.abort(reason);
    await expect(sleeping).rejects.toBe(reason);
    await expect(systemClock.sleep(1, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });

  it("fires timers once, those not cancelled, and no far one at once", async () => {
    const fired: string[] = [];
    systemClock.setTimer(1, () => fired.push("kept"));
    const cancelNear = systemClock.setTimer(1, () => fired.push("cancelled"));
    const cancelFar = systemClock.setTimer(2 ** 40, () => fired.push("far"));
    cancelNear();
    await systemClock.sleep(20);
    cancelFar();
    expect(fired).toEqual(["kept"]);
  });
});
