import { describe, expect, it } from "vitest";
import { wordDiff, type Piece } from "./wordDiff";

const without = (op: Piece["op"], pieces: Piece[]): string =>
  pieces
    .filter((p) => p.op !== op)
    .map((p) => p.text)
    .join("");

/** A small generator with a seed, so that a failure can be seen again. */
function texts(seed: number): string {
  let state = seed;
  const next = (n: number): number => (state = (state * 1_103_515_245 + 12_345) % 2_147_483_648) % n;
  return Array.from({ length: next(40) }, () => ["a", "bee", "cat", "ü", " ", "  ", "\n", ".", "1"][next(9)]).join("");
}

it("what is told of two texts gives both of them back, whatever they are", () => {
  for (let seed = 1; seed < 400; seed++) {
    const [old, now] = [texts(seed), texts(seed * 7 + 1)];
    const pieces = wordDiff(old, now);
    expect(without("insert", pieces)).toBe(old);
    expect(without("delete", pieces)).toBe(now);
    expect(pieces.every((p) => p.text !== "")).toBe(true);
  }
});

describe("the words that changed stand out", () => {
  it.each<[string, string, Piece[]]>([
    ["be brief", "be kind", [{ op: "equal", text: "be " }, { op: "delete", text: "brief" }, { op: "insert", text: "kind" }]],
    ["", "new", [{ op: "insert", text: "new" }]],
    ["same", "same", [{ op: "equal", text: "same" }]],
    ["Answer in one sentence.", "Answer in two sentences.", [{ op: "equal", text: "Answer in " }, { op: "delete", text: "one" }, { op: "insert", text: "two" }, { op: "equal", text: " " }, { op: "delete", text: "sentence" }, { op: "insert", text: "sentences" }, { op: "equal", text: "." }]],
  ])("%j to %j", (old, now, pieces) => expect(wordDiff(old, now)).toEqual(pieces));
});

it("very long texts that share nothing are one replacement, at once", () => {
  const long = (word: string): string => Array.from({ length: 3_000 }, (_, i) => `${word}${i}`).join(" ");
  const pieces = wordDiff(long("a"), long("b"));
  expect(pieces.map((p) => p.op)).toEqual(["delete", "insert"]);
});
