/** An SSH connection with its SFTP session: made when needed, and made anew when it breaks. */
import { createHash } from "node:crypto";
import { ReplicaError } from "../errors.ts";
import { unavailable } from "./driver.ts";
import { importOptional } from "./optional.ts";

export interface SftpLogin {
  readonly host: string;
  /** @default 22 */
  readonly port?: number;
  readonly username: string;
  readonly password?: string;
  /** OpenSSH's or PEM's text. */
  readonly privateKey?: string;
  /** Of the private key. */
  readonly passphrase?: string;
  /** The host's only key: `SHA256:…`, as `ssh-keygen -l` prints it. @default any */
  readonly hostKey?: string;
  /** How long the server may be silent, in ms. @default 30000 */
  readonly timeoutMs?: number;
}

type Done<T = void> = (error: Error | null | undefined, result: T) => void;

export interface SftpAttributes {
  readonly size: number;
  /** In seconds since 1970. */
  readonly mtime: number;
  isDirectory(): boolean;
}

/** What we use of the session that `ssh2` has. */
export interface SftpSession {
  open(path: string, flags: string, done: Done<Buffer>): void;
  close(handle: Buffer, done: Done): void;
  // The six arguments are the protocol's.
  write(handle: Buffer, data: Uint8Array, from: number, n: number, at: number, done: Done): void;
  read(
    handle: Buffer,
    to: Uint8Array,
    at: number,
    n: number,
    from: number,
    done: Done<number>,
  ): void;
  fstat(handle: Buffer, done: Done<SftpAttributes>): void;
  readdir(path: string, done: Done<{ filename: string; attrs: SftpAttributes }[]>): void;
  mkdir(path: string, done: Done): void;
  unlink(path: string, done: Done): void;
  rename(from: string, to: string, done: Done): void;
  ext_openssh_rename(from: string, to: string, done: Done): void;
  ext_openssh_fsync(handle: Buffer, done: Done): void;
}

interface SshClient {
  on(event: "ready" | "close", listener: () => void): this;
  on(event: "error", listener: (error: Error) => void): this;
  connect(options: object): void;
  sftp(done: Done<SftpSession>): void;
  end(): void;
}

export interface SftpFile {
  readonly handle: Buffer;
  readonly connection: number;
}

export class SftpConnection {
  readonly #login: SftpLogin;
  #client: SshClient | undefined;
  /** Which connection it is, counted from 1: handles are good on theirs only. */
  #number = 0;
  #session: Promise<SftpSession> | undefined;

  constructor(login: SftpLogin) {
    this.#login = login;
  }

  /** Runs one request; a callback as Node's become a promise, and an SSH error one of ours. */
  async run<T>(what: string, request: (sftp: SftpSession, done: Done<T>) => void): Promise<T> {
    return await ask(await this.#open(), what, request);
  }

  async openFile(path: string, flags: "r" | "w"): Promise<SftpFile> {
    const sftp = await this.#open();
    const number = this.#number;
    const handle = await ask<Buffer>(sftp, path, (on, done) => on.open(path, flags, done));
    return { handle, connection: number };
  }

  /** For requests on a file that is open: after a new connection its handle may be another's. */
  async runOn<T>(
    { handle, connection }: SftpFile,
    what: string,
    request: (sftp: SftpSession, handle: Buffer, done: Done<T>) => void,
  ): Promise<T> {
    const sftp = this.#number === connection ? await this.#session : undefined;
    if (sftp === undefined || this.#number !== connection) {
      throw unavailable(`${what}: the connection was lost`);
    }
    return await ask<T>(sftp, what, (on, done) => request(on, handle, done));
  }

  close(): void {
    this.#client?.end();
    this.#client = undefined;
    this.#session = undefined;
  }

  async #open(): Promise<SftpSession> {
    this.#session ??= this.#connect();
    const session = this.#session;
    try {
      return await session;
    } catch (error) {
      if (this.#session === session) this.#session = undefined;
      throw error;
    }
  }

  async #connect(): Promise<SftpSession> {
    const { Client } = (await importOptional("ssh2", "sftp")) as { Client: new () => SshClient };
    const client = new Client();
    const { timeoutMs = 30_000, hostKey, ...login } = this.#login;
    try {
      const session = await new Promise<SftpSession>((resolve, reject) => {
        client.on("ready", () =>
          client.sftp((error, sftp) => {
            if (error) reject(error);
            else resolve(sftp);
          }),
        );
        client.on("error", reject);
        client.on("close", () => {
          if (this.#client === client) this.close();
          reject(new Error("the connection was closed"));
        });
        client.connect({
          ...login,
          readyTimeout: timeoutMs,
          keepaliveInterval: Math.ceil(timeoutMs / 3),
          keepaliveCountMax: 3,
          ...(hostKey === undefined ? {} : { hostVerifier: verifierOf(hostKey) }),
        });
      });
      this.#client = client;
      this.#number++;
      return session;
    } catch (error) {
      client.end();
      throw failureOf(error, `sftp://${login.host}`);
    }
  }
}

async function ask<T>(
  sftp: SftpSession,
  what: string,
  request: (sftp: SftpSession, done: Done<T>) => void,
): Promise<T> {
  try {
    return await new Promise<T>((resolve, reject) => {
      request(sftp, (error, result) => {
        if (error) reject(error);
        else resolve(result);
      });
    });
  } catch (error) {
    throw failureOf(error, what);
  }
}

function verifierOf(hostKey: string): (key: Buffer) => boolean {
  const wanted = hostKey.replace(/=+$/, "");
  const print = (key: Buffer) => createHash("sha256").update(key).digest("base64");
  return (key) => `SHA256:${print(key)}`.replace(/=+$/, "") === wanted;
}

/** SFTP's own codes are numbers; all else is the connection's. */
export const sftpCodes = { noSuchFile: 2, permissionDenied: 3, failure: 4 } as const;

export function codeOf(error: unknown): number | undefined {
  const cause = error instanceof ReplicaError ? error.cause : error;
  const { code } = (cause ?? {}) as { code?: unknown };
  return typeof code === "number" ? code : undefined;
}

function failureOf(error: unknown, what: string): ReplicaError {
  if (error instanceof ReplicaError) return error;
  const message = `${what}: ${(error as Error).message}`;
  const { level } = error as { level?: string };
  const code = codeOf(error);
  if (level === "client-authentication" || code === sftpCodes.permissionDenied) {
    return new ReplicaError("STORAGE_DENIED", message, { cause: error });
  }
  const isRefused = code !== undefined && code < 6;
  if (isRefused || level === "handshake") {
    return new ReplicaError("STORAGE_FAILED", message, { cause: error });
  }
  return unavailable(message, error);
}
