/** The faults of the build that `npm run faults` makes: see native/faults/faults.h. */
import Database from "better-sqlite3";
import { extensionPath } from "../../src/native.ts";

export type FaultKind = "call" | "interrupt" | "file";

export interface Fault {
  kind: FaultKind;
  /** Which opportunity fails, from 1; 0 only counts them. */
  at: number;
  /** SQLite's result code. */
  code: number;
  /** All that follow fail as well. */
  sticky: boolean;
}

export interface FaultReport {
  seen: number;
  fired: number;
  what: string;
}

// Loading the extension once makes the faulty VFS the default for files opened from then on.
const control = new Database(":memory:");
control.loadExtension(extensionPath);
const arm = control.prepare("SELECT mergelite_fault(?, ?, ?, ?)").pluck();
const report = control.prepare("SELECT mergelite_fault_report()").pluck();

/** Runs `act` with a fault armed. What it throws is part of the answer. */
export function withFault(fault: Fault, act: () => void): { error: unknown; report: FaultReport } {
  let error: unknown;
  arm.get(fault.kind, fault.at, fault.code, fault.sticky ? 1 : 0);
  try {
    act();
  } catch (thrown) {
    error = thrown;
  }
  const [seen, fired, ...what] = String(report.get()).split(" ");
  return { error, report: { seen: Number(seen), fired: Number(fired), what: what.join(" ") } };
}
