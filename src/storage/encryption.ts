/**
 * Encrypted objects (docs/format.md, "Encrypted objects"): AES-256-GCM over segments of 64 KiB, each
 * bound to its place, to the object's name and to whether it is the last. No I/O.
 */
import { createCipheriv, createDecipheriv, createHmac, hkdfSync } from "node:crypto";
import { ReplicaError } from "../errors.ts";

/** The first key is what is written with, all are what is read with: to rotate, put one before. */
export type EncryptionKeys = readonly [Uint8Array, ...Uint8Array[]];

/** The first bytes of every encrypted object; the last of them is the format. */
export const encryptedMagic: Uint8Array = Buffer.from("mglcrpt\u0001", "latin1");

const keyBytes = 32;
const keysMax = 64;
const keyIdBytes = 8;
const saltBytes = 32;
const tagBytes = 16;
export const encryptedHeaderBytes: number = encryptedMagic.length + keyIdBytes + saltBytes;
export const segmentBytes: number = 64 * 1024;
export const sealedSegmentBytes: number = segmentBytes + tagBytes;

/** Keys as they are configured: base64 or hexadecimal, with commas between. @throws `TypeError` */
export function parseEncryptionKeys(text: string): EncryptionKeys {
  const keys = text.split(",").map((each) => {
    const trimmed = each.trim();
    if (/^[0-9a-fA-F]{64}$/.test(trimmed)) return Buffer.from(trimmed, "hex");
    if (/^[A-Za-z0-9+/]{43}=$/.test(trimmed)) return Buffer.from(trimmed, "base64");
    throw new TypeError("an encryption key is 32 bytes, as base64 or 64 hexadecimal digits");
  });
  const [first, ...rest] = keys;
  if (first === undefined) throw new TypeError("no encryption key is given");
  return [first, ...rest];
}

/** An object: what it is stored under, which is authenticated, and its name for people. */
export interface ObjectName {
  readonly key: string;
  readonly name: string;
}

export class KeyRing {
  readonly #keysById = new Map<string, Uint8Array>();
  readonly #first: { id: Uint8Array; key: Uint8Array };

  /** @throws `TypeError` */
  constructor(keys: EncryptionKeys) {
    const [first] = keys;
    const isRing = keys.length <= keysMax && keys.every((key) => isKey(key));
    if (first === undefined || !isRing) {
      throw new TypeError(`encryption keys are 1 to ${keysMax} arrays of ${keyBytes} bytes`);
    }
    for (const key of keys) this.#keysById.set(Buffer.from(idOf(key)).toString("hex"), key.slice());
    this.#first = { id: idOf(first), key: first.slice() };
  }

  /** Begins an object: its header, and what seals its segments. `salt` is 32 random bytes. */
  seal(object: ObjectName, salt: Uint8Array): { header: Uint8Array; segments: Segments } {
    const header = Buffer.concat([encryptedMagic, this.#first.id, salt]);
    return { header, segments: new Segments(this.#first.key, header, object) };
  }

  /**
   * What opens the segments of the object that begins with `header`.
   * @throws `ENCRYPTION_PLAIN`, `ENCRYPTION_KEY`
   */
  open(object: ObjectName, header: Uint8Array): Segments {
    const { name } = object;
    if (!isEncrypted(header)) {
      throw new ReplicaError("ENCRYPTION_PLAIN", `${name} is not encrypted, but a key is given`, {
        hint: "Keep encrypted and plain objects in places of their own.",
      });
    }
    if (header.length !== encryptedHeaderBytes) throw damagedObject(name);
    const at = encryptedMagic.length;
    const id = Buffer.from(header.subarray(at, at + keyIdBytes)).toString("hex");
    const key = this.#keysById.get(id);
    if (key === undefined) throw noKey(name, `it is of key ${id}`);
    return new Segments(key, header, object);
  }
}

/** Seals and opens the segments of one object. */
export class Segments {
  readonly #key: Uint8Array;
  /** Authenticated with each segment. */
  readonly #bound: Uint8Array;
  readonly #name: string;

  constructor(key: Uint8Array, header: Uint8Array, object: ObjectName) {
    const salt = header.subarray(-saltBytes);
    this.#key = new Uint8Array(hkdfSync("sha256", key, salt, "mergelite object", keyBytes));
    this.#bound = Buffer.concat([header, Buffer.from(object.key)]);
    this.#name = object.name;
  }

  seal(index: number, plain: Uint8Array, isLast: boolean): Uint8Array {
    const cipher = createCipheriv("aes-256-gcm", this.#key, nonceOf(index, isLast));
    cipher.setAAD(this.#bound);
    return Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
  }

  /** @throws `ENCRYPTION_DAMAGED` */
  open(index: number, sealed: Uint8Array, isLast: boolean): Uint8Array {
    const end = sealed.length - tagBytes;
    if (end < 0 || end > segmentBytes) throw damagedObject(this.#name);
    const options = { authTagLength: tagBytes };
    const nonce = nonceOf(index, isLast);
    const decipher = createDecipheriv("aes-256-gcm", this.#key, nonce, options);
    decipher.setAAD(this.#bound);
    decipher.setAuthTag(sealed.subarray(end));
    const plain = decipher.update(sealed.subarray(0, end));
    try {
      decipher.final();
    } catch (cause) {
      throw damagedObject(this.#name, cause);
    }
    return plain;
  }
}

export function isEncrypted(beginning: Uint8Array): boolean {
  const magic = beginning.subarray(0, encryptedMagic.length);
  return Buffer.compare(magic, encryptedMagic) === 0;
}

/** Bytes of an object with `plain` bytes in it. */
export function encryptedBytesOf(plain: number): number {
  return encryptedHeaderBytes + plain + segmentsOf(plain) * tagBytes;
}

/** An empty object has one segment, an empty one; any other has none that is empty. */
export function segmentsOf(plain: number): number {
  return Math.max(1, Math.ceil(plain / segmentBytes));
}

/** Bytes in an object of so many; `undefined` for sizes that no encrypted object has. */
export function plainBytesOf(encrypted: number): number | undefined {
  const sealed = encrypted - encryptedHeaderBytes;
  const full = Math.floor(sealed / sealedSegmentBytes);
  const rest = sealed - full * sealedSegmentBytes;
  if (sealed < tagBytes) return undefined;
  if (rest === 0) return full * segmentBytes;
  if (rest < tagBytes || (rest === tagBytes && full > 0)) return undefined;
  return full * segmentBytes + rest - tagBytes;
}

export function noKey(name: string, why: string): ReplicaError {
  return new ReplicaError("ENCRYPTION_KEY", `no key is given for ${name}: ${why}`, {
    hint: "Give the key it was written with too; MERGELITE_ENCRYPTION_KEYS takes several.",
  });
}

export function damagedObject(name: string, cause?: unknown): ReplicaError {
  const message = `${name} is damaged, shortened, or not what was put there`;
  return new ReplicaError("ENCRYPTION_DAMAGED", message, cause === undefined ? {} : { cause });
}

function isKey(key: unknown): boolean {
  return key instanceof Uint8Array && key.length === keyBytes;
}

/** Tells keys apart, and nothing about them. */
function idOf(key: Uint8Array): Uint8Array {
  return createHmac("sha256", key).update("mergelite key id").digest().subarray(0, keyIdBytes);
}

/** The segment's number in 11 bytes, and one for the last: the key is the object's own. */
function nonceOf(index: number, isLast: boolean): Uint8Array {
  const nonce = Buffer.alloc(12);
  nonce.writeUIntBE(index, 5, 6);
  nonce[11] = isLast ? 1 : 0;
  return nonce;
}
