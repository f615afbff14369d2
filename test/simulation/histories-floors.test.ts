import { describeHistories } from "./histories.ts";
import { floorSeeds } from "./seeds.ts";

describeHistories(floorSeeds, { floors: true });
