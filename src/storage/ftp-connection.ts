/** FTP connections: each does one thing at a time, so there are several, kept between uses. */
import { isIP } from "node:net";
import type { Readable, Writable } from "node:stream";
import { ReplicaError } from "../errors.ts";
import { onAbort } from "../on-abort.ts";
import { unavailable } from "./driver.ts";
import { importOptional } from "./optional.ts";

export interface FtpLogin {
  readonly host: string;
  /** @default 21 */
  readonly port?: number;
  /** @default "anonymous" */
  readonly username?: string;
  readonly password?: string;
  /** TLS: asked for on the usual port, or from the first byte on (`implicit`). @default false */
  readonly secure?: boolean | "implicit";
  /** Certificates, in PEM, that are trusted besides the well-known ones. @default none */
  readonly ca?: string;
  /** How long the server may be silent, in ms. @default 30000 */
  readonly timeoutMs?: number;
  /** Connections at a time for reads, and as many for all else. @default 4 */
  readonly connectionsMax?: number;
}

export interface FtpEntry {
  readonly name: string;
  readonly size: number;
  readonly isDirectory: boolean;
  /** As the server wrote it. */
  readonly rawModifiedAt: string;
  readonly modifiedAt?: Date | undefined;
}

/** What we use of the client that `basic-ftp` has. */
export interface FtpClient {
  readonly closed: boolean;
  access(options: object): Promise<unknown>;
  send(command: string): Promise<{ readonly message: string }>;
  size(path: string): Promise<number>;
  lastMod(path: string): Promise<Date>;
  cd(path: string): Promise<unknown>;
  list(): Promise<FtpEntry[]>;
  rename(from: string, to: string): Promise<unknown>;
  remove(path: string): Promise<unknown>;
  uploadFrom(source: Readable, path: string): Promise<unknown>;
  downloadTo(target: Writable, path: string, startAt: number): Promise<unknown>;
  close(): void;
}

type FtpClientClass = new (timeoutMs: number) => FtpClient;

/** A client that is somebody's, until it is given back. */
export interface HeldClient {
  readonly client: FtpClient;
  /** Only what the server has answered in full may be used again. Idempotent. */
  release(reuse: boolean): void;
}

/** So many connections at a time; who waits may ask those that are only held to let go. */
export class FtpPool {
  readonly #login: FtpLogin;
  readonly #idle: FtpClient[] = [];
  readonly #waiting: (() => void)[] = [];
  /** Held by readers that nobody reads from at the moment. */
  readonly #resting = new Set<() => void>();
  #free: number;
  #closed = false;

  constructor(login: FtpLogin) {
    this.#login = login;
    this.#free = login.connectionsMax ?? 4;
  }

  async acquire(signal: AbortSignal | undefined): Promise<HeldClient> {
    if (this.#free > 0) {
      this.#free--;
    } else {
      await this.#turn(signal);
    }
    try {
      signal?.throwIfAborted();
      const client = this.#takeIdle() ?? (await this.#connect(signal));
      let isHeld = true;
      const release = (reuse: boolean) => {
        if (isHeld) this.#release(client, reuse);
        isHeld = false;
      };
      return { client, release };
    } catch (error) {
      this.#next();
      throw error;
    }
  }

  /** Until the returned function is called, `letGo` may be, when a connection is wanted. */
  rest(letGo: () => void): () => void {
    this.#resting.add(letGo);
    if (this.#waiting.length > 0) letGo();
    return () => void this.#resting.delete(letGo);
  }

  /** Does one thing on a connection. An abort breaks it off. */
  async run<T>(
    what: string,
    signal: AbortSignal | undefined,
    work: (client: FtpClient) => Promise<T>,
  ): Promise<T> {
    const held = await this.acquire(signal);
    const abort = () => held.client.close();
    const off = onAbort(signal, abort);
    let isGood = false;
    try {
      const result = await work(held.client);
      isGood = true;
      return result;
    } catch (error) {
      isGood = ftpCodeOf(error) !== undefined;
      signal?.throwIfAborted();
      throw ftpFailure(error, what);
    } finally {
      off();
      held.release(isGood);
    }
  }

  close(): void {
    this.#closed = true;
    for (const client of this.#idle.splice(0)) client.close();
  }

  /** Resolves when a connection is ours to use. @throws `signal.reason` */
  async #turn(signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    const [letGo] = this.#resting;
    let off = () => {};
    const turn = new Promise<void>((resolve, reject) => {
      this.#waiting.push(resolve);
      off = onAbort(signal, () => {
        const at = this.#waiting.indexOf(resolve);
        // Whose turn has come passes it on.
        if (at >= 0) this.#waiting.splice(at, 1);
        if (at >= 0) reject(signal?.reason);
      });
    });
    letGo?.();
    await turn.finally(() => off());
  }

  #takeIdle(): FtpClient | undefined {
    for (let client = this.#idle.pop(); client !== undefined; client = this.#idle.pop()) {
      if (!client.closed) return client;
    }
    return undefined;
  }

  #release(client: FtpClient, reuse: boolean): void {
    if (reuse && !client.closed && !this.#closed) this.#idle.push(client);
    else client.close();
    this.#next();
  }

  #next(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free++;
    else next();
  }

  async #connect(signal: AbortSignal | undefined): Promise<FtpClient> {
    const module = (await importOptional("basic-ftp", "ftp")) as { Client: FtpClientClass };
    const { host, port, username, password, secure = false, ca } = this.#login;
    const client = new module.Client(this.#login.timeoutMs ?? 30_000);
    const off = onAbort(signal, () => client.close());
    try {
      await client.access({
        host,
        port: port ?? (secure === "implicit" ? 990 : 21),
        ...(username === undefined ? {} : { user: username, password: password ?? "" }),
        secure,
        secureOptions: {
          host,
          ...(isIP(host) ? {} : { servername: host }),
          ...(ca === undefined ? {} : { ca }),
        },
      });
      return client;
    } catch (error) {
      client.close();
      signal?.throwIfAborted();
      throw ftpFailure(error, `ftp://${host}`);
    } finally {
      off();
    }
  }
}

/** A reply of three digits that says no. All else is the connection's trouble. */
export function ftpCodeOf(error: unknown): number | undefined {
  const cause = error instanceof ReplicaError ? error.cause : error;
  const { code } = (cause ?? {}) as { code?: unknown };
  return typeof code === "number" ? code : undefined;
}

/** Not logged in, needs an account, and the ways in which servers say no to what is asked for. */
const deniedCodes: readonly number[] = [530, 532, 553];

export function ftpFailure(error: unknown, what: string): unknown {
  if (error instanceof ReplicaError) return error;
  const message = `${what}: ${(error as Error).message}`;
  const code = ftpCodeOf(error);
  if (code !== undefined && code >= 500) {
    const isDenied = deniedCodes.includes(code) || /denied|permission/i.test(message);
    return new ReplicaError(isDenied ? "STORAGE_DENIED" : "STORAGE_FAILED", message, {
      cause: error,
    });
  }
  const { code: name } = error as { code?: unknown };
  if (typeof name === "string" && /CERT|TLS|SSL|SIGN/.test(name)) {
    return new ReplicaError("STORAGE_FAILED", message, { cause: error });
  }
  // 452 is a full disk; other codes from 400 on pass.
  if (code === 452) return new ReplicaError("STORAGE_FAILED", message, { cause: error });
  return unavailable(message, error);
}
