/** The little of XML that object stores and WebDAV servers answer in. */

const entities: Readonly<Record<string, string>> = {
  amp: "&",
  apos: "'",
  gt: ">",
  lt: "<",
  quot: '"',
};

/** The contents of all elements of that local name, whatever its namespace; not of nested ones. */
export function elementsOf(xml: string, name: string): string[] {
  const element = new RegExp(
    `<(?:[\\w-]+:)?${name}(?:\\s[^>]*)?(?:/>|>([\\s\\S]*?)</(?:[\\w-]+:)?${name}>)`,
    "g",
  );
  return [...xml.matchAll(element)].map(([, content = ""]) => content);
}

/** The text of the first element of that name; "" without one. */
export function textOf(xml: string, name: string): string {
  const text = elementsOf(xml, name)[0] ?? "";
  return text.replace(/&(?:#(\d+)|#x([0-9a-f]+)|(\w+));/gi, (whole, decimal, hex, entity) => {
    if (decimal !== undefined) return String.fromCodePoint(Number.parseInt(decimal, 10));
    if (hex !== undefined) return String.fromCodePoint(Number.parseInt(hex, 16));
    return entities[entity] ?? whole;
  });
}
