import { expect, it } from "vitest";
import { digestIn } from "./useArtifacts";

it("takes a whole digest, with its algorithm or without, and nothing less", () => {
  const hex = "0123456789abcdef".repeat(4);
  expect(digestIn(hex.toUpperCase())).toBe(`sha256:${hex}`);
  expect(digestIn(` sha256:${hex} `)).toBe(`sha256:${hex}`);
  expect(digestIn(hex.slice(1))).toBeNull();
  expect(digestIn("assistant")).toBeNull();
});
