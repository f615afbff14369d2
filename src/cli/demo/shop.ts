/** The database the demo makes when it is given none: a small shop, with every kind of key. */
import type { Random } from "../../clock.ts";
import type { Database } from "../database.ts";
import { between, pick, randomUuid } from "./random.ts";

const schema = `
  CREATE TABLE customer (
    id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL, email TEXT NOT NULL UNIQUE, city TEXT,
    credit REAL NOT NULL DEFAULT 0 CHECK (credit >= 0)) STRICT;
  CREATE TABLE product (
    sku TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL, price NUMERIC NOT NULL CHECK (price > 0),
    stock INTEGER NOT NULL, picture BLOB) WITHOUT ROWID;
  CREATE TABLE "order" (
    id INTEGER PRIMARY KEY, customer_id TEXT NOT NULL REFERENCES customer,
    status TEXT NOT NULL CHECK (status IN ('open', 'paid', 'sent', 'returned')),
    note TEXT, placed_at TEXT NOT NULL);
  CREATE INDEX order_by_customer ON "order" (customer_id);
  CREATE TABLE order_line (
    order_id INTEGER NOT NULL REFERENCES "order" ON DELETE CASCADE, line INTEGER NOT NULL,
    sku TEXT NOT NULL REFERENCES product, quantity INTEGER NOT NULL CHECK (quantity > 0),
    price NUMERIC NOT NULL, total GENERATED ALWAYS AS (quantity * price),
    PRIMARY KEY (order_id, line));
  CREATE TABLE product_tag (
    sku TEXT NOT NULL REFERENCES product ON DELETE CASCADE, tag TEXT NOT NULL, weight REAL,
    PRIMARY KEY (sku, tag)) WITHOUT ROWID;
`;

const names = ["Ada", "Bo", "Cleo", "Dan", "Eva", "Finn", "Gil", "Hana", "Ida", "Jon"];
const cities = ["Bern", "Lyon", "Oslo", "Porto", "Turin", null];
const things = ["Lamp", "Chair", "Table", "Shelf", "Clock", "Mirror", "Rug", "Vase"];
const colors = ["red", "green", "blue", "black"];
const tags = ["new", "sale", "indoor", "outdoor", "gift"];
const states = ["open", "paid", "sent", "returned"];

export function makeShop(db: Database.Database, random: Random): void {
  db.exec(schema);
  db.transaction(() => {
    const customers = makeCustomers(db, random);
    const skus = makeProducts(db, random);
    makeOrders(db, random, { customers, skus });
  })();
}

function makeCustomers(db: Database.Database, random: Random): string[] {
  const insert = db.prepare("INSERT INTO customer VALUES (?, ?, ?, ?, ?)");
  return Array.from({ length: 40 }, (_, i) => {
    const id = randomUuid(random);
    const name = names[i % names.length] ?? "";
    const email = `${name.toLowerCase()}.${i + 1}@example.com`;
    insert.run(id, `${name} ${i + 1}`, email, pick(random, cities), round(random() * 500));
    return id;
  });
}

function makeProducts(db: Database.Database, random: Random): string[] {
  const insert = db.prepare("INSERT INTO product VALUES (?, ?, ?, ?, ?)");
  const tag = db.prepare("INSERT INTO product_tag VALUES (?, ?, ?)");
  const skus: string[] = [];
  for (const thing of things) {
    for (const color of colors) {
      const sku = `${thing.toUpperCase()}-${color.toUpperCase()}`;
      const stock = between(random, { min: 0, max: 90 });
      const picture = Buffer.from(`${color} ${thing}`);
      insert.run(sku, `${thing}, ${color}`, round(5 + random() * 200), stock, picture);
      tag.run(sku, pick(random, tags), round(random()));
      skus.push(sku);
    }
  }
  return skus;
}

function makeOrders(
  db: Database.Database,
  random: Random,
  { customers, skus }: { customers: readonly string[]; skus: readonly string[] },
): void {
  const insert = db.prepare('INSERT INTO "order" VALUES (?, ?, ?, ?, ?)');
  const line = db.prepare(
    "INSERT INTO order_line (order_id, line, sku, quantity, price) VALUES (?, ?, ?, ?, ?)",
  );
  for (let id = 1; id <= 120; id++) {
    const day = `2026-01-${String(between(random, { min: 1, max: 28 })).padStart(2, "0")}`;
    insert.run(id, pick(random, customers), pick(random, states), null, day);
    const lines = between(random, { min: 1, max: 4 });
    for (let number = 1; number <= lines; number++) {
      const quantity = between(random, { min: 1, max: 5 });
      line.run(id, number, pick(random, skus), quantity, round(5 + random() * 200));
    }
  }
}

function round(price: number): number {
  return Math.round(price * 100) / 100;
}
