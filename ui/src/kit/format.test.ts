import { describe, expect, it } from "vitest";
import { ago, betweenMs, bytes, compact, count, duration, money, nanosToMs, percent, plural, shortDigest, unitPrices, UNKNOWN } from "./format";

describe("an unknown value is never shown as zero", () => {
  it.each([count, compact, duration, percent, bytes])("%o", (show) => {
    expect(show(null)).toBe(UNKNOWN);
    expect(show(undefined)).toBe(UNKNOWN);
    expect(show(Number.NaN)).toBe(UNKNOWN);
  });
  it("an unknown price is not a free call", () => {
    expect(money(null)).toBe(UNKNOWN);
    expect(money("0")).toBe("$0.00");
    expect(money("not a number")).toBe(UNKNOWN);
  });
});

describe("duration", () => {
  it.each([
    [0, "0 ms"],
    [0.0042, "4.2 µs"],
    [0.42, "0.42 ms"],
    [9.994, "9.99 ms"],
    [87.4, "87 ms"],
    [999.4, "999 ms"],
    [999.6, "1.00 s"],
    [1240, "1.24 s"],
    [59_940, "59.9 s"],
    [59_960, "1 m 00 s"],
    [125_000, "2 m 05 s"],
    [3_780_000, "1 h 03 m"],
    [-5, "−5 ms"],
  ])("%d ms reads %s", (ms, text) => expect(duration(ms)).toBe(text));
});

describe("compact", () => {
  it.each([
    [0, "0"],
    [999, "999"],
    [1000, "1k"],
    [12_345, "12.3k"],
    [123_456, "123k"],
    [999_999, "1M"],
    [1_500_000, "1.5M"],
    [2_000_000_000, "2B"],
    [-12_345, "-12.3k"],
  ])("%d reads %s", (value, text) => expect(compact(value)).toBe(text));
});

describe("money", () => {
  it.each([
    ["12.5", "USD", "$12.50"],
    ["1234567.891", "USD", "$1,234,567.89"],
    ["0.5", "EUR", "€0.500"],
    ["0.00012345", "USD", "$0.000123"],
    ["0.0000001", "USD", "<$0.000001"],
    ["-0.25", "USD", "−$0.250"],
    ["3", "CHF", "3.00 CHF"],
  ])("%s %s reads %s", (amount, currency, text) => expect(money(amount, currency)).toBe(text));
});

describe("small things", () => {
  it("percent keeps tiny shares visible", () => {
    expect([0, 0.00001, 0.0123, 0.5, 1].map(percent)).toEqual(["0 %", "<0.01 %", "1.23 %", "50 %", "100 %"]);
  });
  it("bytes count by 1024", () => {
    expect([0, 1023, 1536, 105 * 2 ** 20, 3 * 2 ** 30].map(bytes)).toEqual(["0 B", "1023 B", "1.5 KiB", "105 MiB", "3 GiB"]);
  });
  it("a digest is cut after its algorithm", () => {
    expect(shortDigest("sha256:1f0c9a7b22")).toBe("1f0c9a7b");
    expect(shortDigest("1f0c9a7b22", 4)).toBe("1f0c");
  });
  it("nanoseconds keep their digits", () => {
    expect(nanosToMs("1795400000123456789")).toBeCloseTo(1_795_400_000_123.4568, 3);
    expect(betweenMs("1795400000123456789", "1795400000123456790")).toBe(0.000001);
  });
  it("ages are told in one unit", () => {
    const now = 1e12;
    expect([0, 42e3, 5 * 60e3, 3 * 3600e3, 12 * 86400e3].map((d) => ago(now - d, now))).toEqual(["just now", "42 s ago", "5 m ago", "3 h ago", "12 d ago"]);
    expect(ago(now + 90e3, now)).toBe("in 1 m");
  });
  it("plural knows one", () => expect([plural(0, "trace"), plural(1, "trace"), plural(1200, "reply", "replies")]).toEqual(["0 traces", "1 trace", "1,200 replies"]));
});

it("what is charged besides text is said by its unit", () => {
  expect(unitPrices({ image: "0.04", character: "15", audio_input: "40" })).toBe("$0.04 an image, $15 a million characters, $40 a million tokens of sound in");
  expect(unitPrices({ second: "0.0001" }, "CHF")).toBe("0.0001 CHF a second");
  expect(unitPrices({ later: "1" })).toBe("$1 a million tokens of later");
  expect(unitPrices({})).toBe("");
});
