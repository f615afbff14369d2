/** Access tokens of Google: for a service account's key, or from the machine that this runs on. */
import { createSign } from "node:crypto";
import type { Clock } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import { type HttpAnswer, type HttpClient, refusal } from "./http.ts";

/** What a service account's key file has, as far as it is needed. */
export interface GoogleKey {
  readonly client_email: string;
  /** PEM. */
  readonly private_key: string;
  /** @default "https://oauth2.googleapis.com/token" */
  readonly token_uri?: string;
}

const scope = "https://www.googleapis.com/auth/devstorage.read_write";
const metadataServer =
  "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token";
/** A token that ends so soon is not used any more. */
const marginMs = 60_000;

/** Fetches tokens, and keeps each for as long as it is good. */
export class GoogleTokens {
  readonly #http: HttpClient;
  readonly #key: GoogleKey | undefined;
  readonly #clock: Clock;
  #token = "";
  #endMs = 0;
  #fetching: Promise<void> | undefined;

  constructor(http: HttpClient, clock: Clock, key: GoogleKey | undefined) {
    this.#http = http;
    this.#clock = clock;
    this.#key = key;
  }

  async get(): Promise<string> {
    if (this.#clock.now() >= this.#endMs - marginMs) {
      this.#fetching ??= this.#fetch().finally(() => {
        this.#fetching = undefined;
      });
      await this.#fetching;
    }
    return this.#token;
  }

  async #fetch(): Promise<void> {
    const startMs = this.#clock.now();
    const answer = await this.#ask(startMs);
    const text = await answer.text();
    if (answer.status !== 200) {
      throw refusal({ what: "Google's access token", status: answer.status, reason: text });
    }
    const token = JSON.parse(text) as { access_token: string; expires_in: number };
    this.#token = token.access_token;
    this.#endMs = startMs + token.expires_in * 1000;
  }

  async #ask(nowMs: number): Promise<HttpAnswer> {
    if (this.#key === undefined) {
      const headers = { "metadata-flavor": "Google" };
      const url = new URL(metadataServer);
      try {
        return await this.#http.send({ method: "GET", url, headers, signal: undefined });
      } catch (error) {
        throw error instanceof ReplicaError ? notOnGoogle(error) : error;
      }
    }
    const url = new URL(this.#key.token_uri ?? "https://oauth2.googleapis.com/token");
    const form = new URLSearchParams({
      grant_type: "urn:ietf:params:oauth:grant-type:jwt-bearer",
      assertion: assertionOf(this.#key, url.href, nowMs),
    });
    const headers = { "content-type": "application/x-www-form-urlencoded" };
    const body = Buffer.from(form.toString());
    return await this.#http.send({ method: "POST", url, headers, body, signal: undefined });
  }
}

/** A machine elsewhere has no metadata server, and its user no idea of one. */
function notOnGoogle({ code, message, cause }: ReplicaError): ReplicaError {
  return new ReplicaError(code, message, {
    cause,
    hint: "Outside Google's cloud GOOGLE_APPLICATION_CREDENTIALS names the key file to use.",
  });
}

function assertionOf(key: GoogleKey, audience: string, nowMs: number): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const issued = Math.floor(nowMs / 1000);
  const claims = { iss: key.client_email, scope, aud: audience, iat: issued, exp: issued + 3600 };
  const unsigned = `${part({ alg: "RS256", typ: "JWT" })}.${part(claims)}`;
  const signature = createSign("RSA-SHA256").update(unsigned).sign(key.private_key, "base64url");
  return `${unsigned}.${signature}`;
}
