import { describe, expect, it } from "vitest";
import { costOf } from "./cost";

const said = (cost: string | null, unpriced_calls: number) => costOf({ cost, currency: "USD", unpriced_calls });

describe("what a trace cost", () => {
  it("is nothing where its calls failed and used nothing: no price could tell it", () => expect(said(null, 0)).toMatchObject({ text: "none", unknown: false }));
  it("is unknown where a call has no price", () => expect(said(null, 2)).toMatchObject({ text: "unknown", unknown: true }));
  it("is a sum", () => expect(said("2", 0)).toMatchObject({ text: "$2.00", tip: "USD", unknown: false }));
  it("tells of the calls that are not in the sum", () => expect(said("2", 1)).toMatchObject({ text: "$2.00", tip: "and 1 call of unknown price", unknown: true }));
});
