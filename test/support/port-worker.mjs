// A replica in a worker: connects over every port it is sent, and runs every statement.
import { MessagePort, parentPort, workerData } from "node:worker_threads";
import Database from "better-sqlite3";
import { attach } from "../../dist/index.js";
import { messagePortTransport } from "../../dist/transport/message-port.js";

const db = new Database(workerData);
db.exec("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)");
const replica = attach(db, { tables: ["note"] });

parentPort.on("message", (message) => {
  if (message instanceof MessagePort) {
    replica.connect(messagePortTransport(message));
    return;
  }
  db.exec(message);
  parentPort.postMessage(replica.token());
});
