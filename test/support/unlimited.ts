/** For tests whose length is chosen by whoever runs them, in ms. */
export const unlimited = 24 * 3_600_000;
