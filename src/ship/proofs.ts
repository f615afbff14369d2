/** When which backup was proved, kept in the shipper's folder: a restart proves nothing again. */
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Proof } from "../backup/keeper.ts";
import { replaceFile } from "../durable.ts";

const name = "proofs.json";

/** By the names of storages. */
export class Proofs {
  readonly #folder: string;
  readonly #proofs = new Map<string, Proof>();
  #loaded: Promise<void> | undefined;
  #saved: Promise<void> = Promise.resolve();

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** `undefined` before the first. */
  async of(storage: string): Promise<Proof | undefined> {
    this.#loaded ??= this.#load();
    await this.#loaded;
    return this.#proofs.get(storage);
  }

  /** When the newest proof was made, where that is longest ago; 0 if there is a storage without. */
  oldestMs(storages: readonly string[]): number {
    return Math.min(...storages.map((each) => this.#proofs.get(each)?.verifiedMs ?? 0));
  }

  /** Durable when it resolves. */
  async note(storage: string, proof: Proof): Promise<void> {
    this.#proofs.set(storage, proof);
    const save = this.#saved.then(() => this.#save());
    this.#saved = save.catch(() => {});
    await save;
  }

  async #load(): Promise<void> {
    const text = await readFile(join(this.#folder, name), "utf8").catch(() => "");
    try {
      const { format, storages } = fieldsOf(JSON.parse(text));
      if (format !== 1) return;
      for (const [storage, proof] of Object.entries(fieldsOf(storages))) {
        const { txid, verifiedMs } = fieldsOf(proof);
        if (!isWhole(txid) || !isWhole(verifiedMs) || this.#proofs.has(storage)) continue;
        this.#proofs.set(storage, { txid, verifiedMs });
      }
    } catch {
      // Not there, or not ours: then nothing is known, and all is proved again.
    }
  }

  async #save(): Promise<void> {
    const storages = Object.fromEntries(this.#proofs);
    await mkdir(this.#folder, { recursive: true });
    const text = `${JSON.stringify({ format: 1, storages })}\n`;
    await replaceFile(this.#folder, name, Buffer.from(text));
  }
}

function fieldsOf(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? { ...value } : {};
}

function isWhole(value: unknown): value is number {
  return Number.isSafeInteger(value);
}
