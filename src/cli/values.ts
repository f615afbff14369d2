/** Values of rows, for people and for JSON. */

const shownCharactersMax = 60;

/** JSON has no blobs, no infinity, and its readers no integers over 53 bits: objects are those. */
export function toJsonValue(value: unknown): unknown {
  if (value instanceof Uint8Array) return { blob: Buffer.from(value).toString("hex") };
  if (typeof value === "number" && !Number.isFinite(value)) return { real: toLiteral(value) };
  if (typeof value !== "bigint") return value;
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : { integer: value.toString() };
}

export function toLiteral(value: unknown): string {
  if (value instanceof Uint8Array) return `x'${shorten(Buffer.from(value).toString("hex"))}'`;
  if (value === Infinity || value === -Infinity) return value > 0 ? "9e999" : "-9e999";
  if (typeof value === "number" || typeof value === "bigint") return String(value);
  if (typeof value !== "string") return "NULL";
  // One patch, one line: control characters are shown as JSON would.
  const printable = shorten(value).replace(/\p{Cc}/gu, (c) => JSON.stringify(c).slice(1, -1));
  return `'${printable.replaceAll("'", "''")}'`;
}

function shorten(text: string): string {
  return text.length <= shownCharactersMax ? text : `${text.slice(0, shownCharactersMax)}...`;
}
