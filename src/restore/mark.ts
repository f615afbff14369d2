/**
 * How far a followed file is: two slots beside it, written in turn. A slot is durable before the
 * transaction that it announces is written, so that after any crash the file is at `applied` or at
 * `applying`, and the next transaction must reach at least as far as that.
 */
import { type FileHandle, open } from "node:fs/promises";
import { native } from "../native.ts";

export interface FollowMark {
  /** The last position known to be in the file; 0: nothing is known of what it holds. */
  readonly applied: number;
  /** When that was committed, in ms since 1970. */
  readonly timestampMs: number;
  /** The position that was being written. */
  readonly applying: number;
  /** Whose positions these are: 16 hexadecimal digits. */
  readonly source: string;
}

export const unknownMark: FollowMark = {
  applied: 0,
  timestampMs: 0,
  applying: 0,
  source: "0".repeat(16),
};

const slotBytes = 512;

export const markPathOf = (file: string) => `${file}-follow`;

export class MarkFile {
  readonly #file: FileHandle;
  #serial: number;
  mark: FollowMark;

  /** Makes it where it is missing. */
  static async open(path: string): Promise<MarkFile> {
    // Makes it; what is opened so would only be written at its end.
    await (await open(path, "a")).close();
    const file = await open(path, "r+");
    const bytes = Buffer.alloc(2 * slotBytes);
    await file.read(bytes, 0, bytes.length, 0);
    const slots = [0, slotBytes].flatMap((at) => readSlot(bytes.subarray(at, at + slotBytes)));
    slots.sort((a, b) => b.serial - a.serial);
    const newest = slots[0] ?? { serial: 0, ...unknownMark };
    return new MarkFile(file, newest);
  }

  /** For `open`. */
  private constructor(file: FileHandle, { serial, ...mark }: Slot) {
    this.#file = file;
    this.#serial = serial;
    this.mark = mark;
  }

  /** Durable when it resolves. */
  async write({ applied, timestampMs, applying, source }: FollowMark): Promise<void> {
    const serial = this.#serial + 1;
    const text = JSON.stringify({ format: 1, serial, applied, timestampMs, applying, source });
    const slot = Buffer.alloc(slotBytes, " ");
    slot.write(`${text} ${checksumOf(text)}\n`);
    await this.#file.write(slot, 0, slotBytes, (serial % 2) * slotBytes);
    await this.#file.datasync();
    this.#serial = serial;
    this.mark = { applied, timestampMs, applying, source };
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

interface Slot extends FollowMark {
  readonly serial: number;
}

function checksumOf(text: string): string {
  return native.crc64(Buffer.from(text), 0n).toString(16).padStart(16, "0");
}

/** None where it was torn or is of something else: to know nothing is always right. */
function readSlot(bytes: Buffer): Slot[] {
  const [, text = "", sum] =
    /^(\{[^}]{0,200}\}) ([0-9a-f]{16})\n/.exec(bytes.toString("latin1")) ?? [];
  if (text === "" || checksumOf(text) !== sum) return [];
  const { format, ...slot } = JSON.parse(text) as Record<string, unknown>;
  const { serial, applied, timestampMs, applying, source } = slot;
  const isOurs = format === 1 && typeof source === "string" && /^[0-9a-f]{16}$/.test(source);
  // Before 1970 where a writer has no clock.
  if (!isOurs || !isCount(serial) || !Number.isSafeInteger(timestampMs)) return [];
  if (!isCount(applied) || !isCount(applying)) return [];
  return [{ serial, applied, timestampMs: Number(timestampMs), applying, source }];
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}
