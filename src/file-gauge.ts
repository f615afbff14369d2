/** How large the file is and what of it is ours: read on another thread, when somebody asks. */
import type { Clock } from "./clock.ts";
import type { FileReading } from "./native.ts";

export interface FileMetrics {
  /** Wall time, ms. */
  readonly measuredAtMs: number;
  readonly databaseBytes: number;
  readonly logChangesets: number;
  /** Of their payloads. */
  readonly logBytes: number;
  /**
   * Whole pages of tables and indexes beside those of the user, the log excluded; 0 where SQLite
   * was compiled without dbstat.
   */
  readonly metadataBytes: number;
  /** Patches that wait, and marks, by reason. */
  readonly parked: Readonly<Record<string, number>>;
  readonly refusedChangesets: number;
}

export class FileGauge {
  readonly #read: () => Promise<FileReading[]>;
  readonly #clock: Clock;
  #latest: FileMetrics | undefined;
  #reading: Promise<FileMetrics> | undefined;

  constructor(read: () => Promise<FileReading[]>, clock: Clock) {
    this.#read = read;
    this.#clock = clock;
  }

  get latest(): FileMetrics | undefined {
    return this.#latest;
  }

  /** Those who ask while it is being read get the same answer. */
  measure(): Promise<FileMetrics> {
    this.#reading ??= this.#measure().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async #measure(): Promise<FileMetrics> {
    const readings = await this.#read();
    this.#latest = fileMetricsOf(readings, this.#clock.now());
    return this.#latest;
  }
}

export function fileMetricsOf(readings: readonly FileReading[], measuredAtMs: number): FileMetrics {
  const value = (kind: string, name: string) =>
    readings.find((one) => one.kind === kind && one.name === name)?.value ?? 0;
  const ofKind = (kind: string) => readings.filter((one) => one.kind === kind);
  const metadata = ofKind("table").filter(({ name }) => name !== "_mergelite_log");
  return {
    measuredAtMs,
    databaseBytes: value("file", "bytes"),
    logChangesets: value("log", "changesets"),
    logBytes: value("log", "bytes"),
    metadataBytes: metadata.reduce((sum, one) => sum + one.value, 0),
    parked: Object.fromEntries(ofKind("parked").map((one) => [one.name, one.value])),
    refusedChangesets: value("refused", "changesets"),
  };
}
