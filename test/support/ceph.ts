/**
 * S3 as Ceph speaks it: a monitor, a store in memory and a gateway on loopback, with one user and one
 * bucket. They take some 15 seconds to start.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { type S3Credentials, signedHeaders } from "../../src/storage/aws-signature.ts";
import { answers, freePort } from "./servers.ts";

const run = promisify(execFile);
const programs = ["ceph", "ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "monmaptool"];

export interface S3Server {
  readonly endpoint: string;
  /** `stop` removes it and all that is in it. */
  readonly isThrownAway: boolean;
  stop(): Promise<void>;
}

export const bucket = "mergelite";
export const credentials: S3Credentials = {
  accessKeyId: "testkey",
  secretAccessKey: "testsecret",
};

/**
 * The server of MERGELITE_S3_ENDPOINT, which has the bucket and the user already, or else Ceph where
 * its programs are installed; undefined without either.
 */
export function s3Server(): Promise<S3Server> | undefined {
  const endpoint = process.env.MERGELITE_S3_ENDPOINT;
  if (endpoint !== undefined) {
    return Promise.resolve({ endpoint, isThrownAway: false, stop: async () => {} });
  }
  const isThere = programs.every((program) => existsSync(join("/usr/bin", program)));
  return isThere && process.getuid?.() === 0 ? startCeph() : undefined;
}

async function startCeph(): Promise<S3Server> {
  const folder = mkdtempSync(join(tmpdir(), "mergelite-ceph-"));
  const children: ChildProcess[] = [];
  const stop = async () => {
    for (const child of children.reverse()) await ended(child);
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    const [monitorPort, port] = [await freePort(), await freePort()];
    const id = randomUUID();
    const config = ["-c", writeConfig(folder, { monitorPort, port, id })];
    const start = (program: string, ...args: string[]) => {
      const child = spawn(program, [...config, "-f", ...args], { stdio: "ignore" });
      children.push(child);
      return child;
    };
    await startMonitor(folder, { config, monitorPort, id, start });
    await startStore(config, start);
    const user = ["--uid=test", "--display-name=test"];
    const keys = [
      `--access-key=${credentials.accessKeyId}`,
      `--secret-key=${credentials.secretAccessKey}`,
    ];
    await run("radosgw-admin", [...config, "user", "create", ...user, ...keys]);
    const gateway = start("radosgw", "-n", "client.rgw");
    await untilListening(port, gateway);
    const endpoint = `http://127.0.0.1:${port}`;
    await makeBucket(endpoint);
    return { endpoint, isThrownAway: true, stop };
  } catch (cause) {
    await stop();
    throw cause;
  }
}

type Start = (program: string, ...args: string[]) => ChildProcess;

async function startMonitor(
  folder: string,
  {
    config,
    monitorPort,
    id,
    start,
  }: { config: string[]; monitorPort: number; id: string; start: Start },
): Promise<void> {
  const map = join(folder, "monitors");
  const address = `[v2:127.0.0.1:${monitorPort}]`;
  await run("monmaptool", ["--create", "--fsid", id, "--addv", "a", address, map]);
  await run("ceph-mon", [...config, "--mkfs", "-i", "a", "--monmap", map]);
  await untilListening(monitorPort, start("ceph-mon", "-i", "a"));
}

async function startStore(config: string[], start: Start): Promise<void> {
  const ceph = (...args: string[]) => run("ceph", [...config, "--connect-timeout", "30", ...args]);
  const id = randomUUID();
  await ceph("osd", "new", id);
  await run("ceph-osd", [...config, "-i", "0", "--mkfs", "--osd-uuid", id]);
  await ceph("osd", "crush", "add", "osd.0", "1.0", "root=default");
  start("ceph-osd", "-i", "0");
}

/** No authentication within the cluster, one copy of everything, nothing on disk that counts. */
function writeConfig(
  folder: string,
  { monitorPort, port, id }: { monitorPort: number; port: number; id: string },
): string {
  for (const name of ["run", "monitor", "store", "gateway"]) mkdirSync(join(folder, name));
  const file = join(folder, "ceph.conf");
  const lines = [
    "[global]",
    `fsid = ${id}`,
    `run_dir = ${folder}/run`,
    `admin_socket = ${folder}/run/$name.socket`,
    "log_file = /dev/null",
    "mon_cluster_log_file = /dev/null",
    "mon_initial_members = a",
    `mon_host = [v2:127.0.0.1:${monitorPort}]`,
    "public_addr = 127.0.0.1",
    "ms_bind_msgr1 = false",
    "ms_mon_client_mode = crc",
    "auth_cluster_required = none",
    "auth_service_required = none",
    "auth_client_required = none",
    "mon_allow_pool_size_one = true",
    "mon_max_pg_per_osd = 500",
    "mon_data_avail_crit = 1",
    "osd_pool_default_size = 1",
    "osd_pool_default_min_size = 1",
    "osd_pool_default_pg_num = 4",
    "osd_pool_default_pg_autoscale_mode = off",
    "osd_crush_chooseleaf_type = 0",
    "[mon.a]",
    `mon_data = ${folder}/monitor`,
    "[osd.0]",
    `osd_data = ${folder}/store`,
    "osd_objectstore = memstore",
    "memstore_device_bytes = 4294967296",
    "osd_class_load_list = *",
    "osd_class_default_list = *",
    "[client.rgw]",
    `rgw_data = ${folder}/gateway`,
    `rgw_frontends = beast endpoint=127.0.0.1:${port} tcp_nodelay=1`,
  ];
  writeFileSync(file, `${lines.join("\n")}\n`);
  return file;
}

async function untilListening(port: number, child: ChildProcess): Promise<void> {
  for (let tries = 0; !(await answers(port)); tries++) {
    if (child.exitCode !== null || tries > 1200)
      throw new Error(`${child.spawnfile} has not begun`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function makeBucket(endpoint: string): Promise<void> {
  const url = new URL(`${endpoint}/${bucket}`);
  const request = { method: "PUT", url, headers: {}, payload: "UNSIGNED-PAYLOAD" };
  const signer = { credentials, region: "us-east-1", nowMs: Date.now() };
  const { host: _, ...headers } = signedHeaders(request, signer);
  const answer = await fetch(url, { method: "PUT", headers });
  if (!answer.ok) throw new Error(`${answer.status}: ${await answer.text()}`);
}

async function ended(child: ChildProcess): Promise<void> {
  const gone = new Promise((resolve) => child.once("exit", resolve));
  if (child.exitCode === null && child.kill("SIGKILL")) await gone;
}
