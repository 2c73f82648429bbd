import { expect, it } from "vitest";
import { cell, gist, shortKey } from "./cell";

const chat = [
  { role: "system", content: "Be kind." },
  { role: "user", content: "Hello?" },
  { role: "assistant", content: "Hello!" },
];

it("a conversation reads as its words, other values as their JSON", () => {
  expect(cell(chat)).toMatch(/Hello\?.*Hello!/s);
  expect(cell(chat)).not.toContain("Be kind");
  expect(cell({ a: [1] })).toBe('{"a":[1]}');
  expect([cell("text"), cell(undefined), cell(null), cell(0)]).toEqual(["text", "", "null", "0"]);
  expect(cell("x".repeat(9_000)).length).toBeLessThan(400);
});

it("a row in a line is its conversation, or its fields", () => {
  expect(gist({ id: 1, messages: chat })).toContain("Hello!");
  expect(gist({ q: "why", n: 2 })).toBe("q why · n 2");
});

it("digests are cut, names are not", () => {
  expect(shortKey("ab".repeat(32))).toBe("abababababab");
  expect(shortKey("case-0001")).toBe("case-0001");
});
