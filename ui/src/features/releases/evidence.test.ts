import { describe, expect, it } from "vitest";
import { predicateName } from "./evidence";

describe("statements are called what people call them", () => {
  it.each([
    ["https://in-toto.io/attestation/test-result/v0.1", "test result"],
    ["https://slsa.dev/verification_summary/v1", "verdict of a gate"],
    ["https://slsa.dev/provenance/v1", "provenance"],
    ["https://example.org/weather/v2", "weather"],
    ["plain", "plain"],
  ])("%s", (type, name) => expect(predicateName(type)).toBe(name));
});
