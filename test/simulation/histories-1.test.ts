import { describeHistories } from "./histories.ts";

describeHistories({ first: 1, last: 150 });
