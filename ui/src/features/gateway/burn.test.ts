import { describe, expect, it } from "vitest";
import { burnDown, nearness, project } from "./burn";

const HOUR = 3_600_000;
const START = Date.parse("2026-11-01T00:00:00Z");
const budget = (change: object = {}) => ({
  amount: "100",
  spent: "25",
  uncertain: "0",
  used_percent: 25,
  created_at: "2026-01-01T00:00:00Z",
  starts_at: "2026-11-01T00:00:00Z",
  ends_at: "2026-12-01T00:00:00Z",
  series: [],
  ...change,
});

describe("a projection", () => {
  it("goes on as the period went so far, and tells when nothing is left", () => {
    const found = project(budget(), START + 5 * 24 * HOUR);
    expect(found.atEnd).toBeCloseTo(150);
    expect(found.emptyAt).toBe(START + 20 * 24 * HOUR);
  });
  it("of a budget that lasts has no end", () => expect(project(budget(), START + 15 * 24 * HOUR).emptyAt).toBeNull());
  it("begins with the budget where it is younger than its period", () => {
    const found = project(budget({ created_at: "2026-11-10T00:00:00Z" }), Date.parse("2026-11-11T00:00:00Z"));
    expect(found.rate).toBeCloseTo(25 / 24);
  });
  it("does not shoot up in the first minutes", () => expect(project(budget({ spent: "1", created_at: "2026-11-10T00:00:00Z" }), Date.parse("2026-11-10T00:01:00Z")).rate).toBe(1));
  it("of a period without an end tells only when it is empty", () => {
    const found = project(budget({ starts_at: null, ends_at: null, created_at: "2026-11-01T00:00:00Z" }), START + 25 * HOUR);
    expect([found.atEnd, found.emptyAt]).toEqual([null, START + 100 * HOUR]);
  });
  it("of nothing spent is nothing", () => expect(project(budget({ spent: "0" }), START + HOUR)).toEqual({ rate: 0, atEnd: 0, emptyAt: null }));
});

describe("how near its end a budget is", () => {
  it.each([
    [{ used_percent: 100, spent: "100" }, "over"],
    [{ used_percent: 80, spent: "80" }, "near"],
    [{}, "ahead"],
    [{ spent: "1", used_percent: 1 }, "fine"],
  ])("%o", (change, word) => expect(nearness(budget(change), START + 5 * 24 * HOUR)).toBe(word));
});

describe("a burn-down", () => {
  it("falls from the whole amount to what is left now, and goes on to where nothing is", () => {
    const now = START + 5 * 24 * HOUR;
    const { left, ahead } = burnDown(budget({ series: [{ hour: "2026-11-02T00:00:00Z", spent: "10" }, { hour: "2026-11-05T23:00:00Z", spent: "25" }] }), now, false);
    expect(left).toEqual([[START, 100], [START + 25 * HOUR, 90], [now, 75]]);
    expect(ahead).toEqual([[now, 75], [START + 20 * 24 * HOUR, 0], [Date.parse("2026-12-01T00:00:00Z"), 0]]);
  });
  it("of a period that is over has no future", () => {
    const { left, ahead } = burnDown(budget({ series: [{ hour: "2026-11-02T00:00:00Z", spent: "10" }] }), START + 90 * 24 * HOUR, true);
    expect([left, ahead]).toEqual([[[START + 24 * HOUR, 100], [START + 25 * HOUR, 90]], []]);
  });
  it("of what is overspent stays at nothing", () => {
    const now = START + HOUR;
    expect(burnDown(budget({ spent: "130" }), now, false).ahead).toEqual([[now, 0], [Date.parse("2026-12-01T00:00:00Z"), 0]]);
  });
});
