/** Certificates for tests, made when they are needed, so that none in the repository expires. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface Identity {
  readonly cert: string;
  readonly key: string;
}

/** An authority that signs certificates valid for `localhost` and 127.0.0.1. */
export interface Authority {
  readonly ca: string;
  issue(commonName: string): Identity;
}

export function makeAuthority(name: string): Authority {
  const own = inFolder((folder) => {
    const key = makeKey(folder, "ca.key");
    const args = ["-new", "-x509", "-key", key, "-out", "ca.crt", "-days", "2"];
    openssl(folder, "req", ...args, "-subj", `/CN=${name}`);
    return { cert: read(folder, "ca.crt"), key: read(folder, key) };
  });
  return { ca: own.cert, issue: (commonName) => issue(own, commonName) };
}

function issue(authority: Identity, commonName: string): Identity {
  return inFolder((folder) => {
    writeFileSync(join(folder, "ca.crt"), authority.cert);
    writeFileSync(join(folder, "ca.key"), authority.key);
    writeFileSync(join(folder, "names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n");
    const key = makeKey(folder, "own.key");
    openssl(folder, "req", "-new", "-key", key, "-out", "own.csr", "-subj", `/CN=${commonName}`);
    const signed = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names"];
    const args = ["-req", "-in", "own.csr", "-out", "own.crt", "-days", "2", ...signed];
    openssl(folder, "x509", ...args);
    return { cert: read(folder, "own.crt"), key: read(folder, key) };
  });
}

function makeKey(folder: string, name: string): string {
  openssl(folder, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", name);
  return name;
}

function openssl(folder: string, ...args: string[]): void {
  execFileSync("openssl", args, { cwd: folder, stdio: "pipe" });
}

function read(folder: string, name: string): string {
  return readFileSync(join(folder, name), "utf8");
}

function inFolder(make: (folder: string) => Identity): Identity {
  const folder = mkdtempSync(join(tmpdir(), "mergelite-tls-"));
  try {
    return make(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
