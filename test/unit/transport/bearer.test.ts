/** Who is let in by a token. */
import { expect, test } from "vitest";
import { authorizeBearer } from "../../../src/transport/bearer.ts";

test.each([
  ["Bearer secret", true],
  ["Bearer secret2", false],
  ["Bearer undefined", false],
  ["bearer", false],
  [undefined, false],
])("%s: %s", (authorization, isAllowed) => {
  expect(authorizeBearer("secret")({ headers: { authorization } })).toBe(isAllowed);
});

test.each([undefined, null, "", " ", "a b", "tok\r", "ä", 5, "x".repeat(4097)])(
  "%j is no token, and lets nobody in",
  (token) => {
    expect(() => authorizeBearer(token as string)).toThrow(TypeError);
  },
);
