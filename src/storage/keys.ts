/** Which keys there are: few enough that every storage takes them as they are. */

const keyBytesMax = 512;
const part = /^[A-Za-z0-9_=-][A-Za-z0-9._=-]*$/;

/** @throws `TypeError` */
export function checkKey(key: string): void {
  const isKey = key.length <= keyBytesMax && key.split("/").every((each) => part.test(each));
  if (!isKey) throw new TypeError(`${JSON.stringify(key)} is no key of an object`);
}

/** A key, or a part of one from its beginning. @throws `TypeError` */
export function checkPrefix(prefix: string): void {
  const parts = prefix.split("/");
  const last = parts.pop() ?? "";
  const isPrefix =
    prefix.length <= keyBytesMax &&
    parts.every((each) => part.test(each)) &&
    (last === "" || part.test(last));
  if (!isPrefix) throw new TypeError(`${JSON.stringify(prefix)} is no prefix of keys`);
}

const metadataName = /^[a-z][a-z0-9-]{0,63}$/;
// What every storage carries in a header without quoting.
const metadataValue = /^[\x21-\x7e](?:[\x20-\x7e]{0,1022}[\x21-\x7e])?$/;

/** @throws `TypeError` */
export function checkMetadata(metadata: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(metadata)) {
    if (!metadataName.test(name)) {
      throw new TypeError(`${JSON.stringify(name)} is no name of metadata`);
    }
    if (!metadataValue.test(value)) throw new TypeError(`metadata ${name} is no short plain text`);
  }
}
