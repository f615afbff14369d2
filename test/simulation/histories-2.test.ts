import { describeHistories } from "./histories.ts";

describeHistories({ first: 151, last: 300 });
