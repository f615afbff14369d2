import { existsSync } from "node:fs";
import { dirname, join } from "node:path";

/**
 * The environment for node-gyp: it takes Node's headers from the running installation where that
 * has them, so that nothing is downloaded. An `npm_config_nodedir` that is set already wins. Files are
 * compiled on all cores.
 */
export function buildEnvironment() {
  const prefix = dirname(dirname(process.execPath));
  const env = { JOBS: "max", ...process.env };
  if (env.npm_config_nodedir === undefined && existsSync(join(prefix, "include/node/node_api.h"))) {
    env.npm_config_nodedir = prefix;
  }
  return env;
}
