import { describe, expect, it } from "vitest";
import { diffLines, wordPieces } from "./words";

const join = (pieces: { text: string }[]): string => pieces.map((p) => p.text).join("");

describe("words of two lines", () => {
  it("only the words that differ are marked", () => {
    const [old, now] = wordPieces("Answer in one short sentence.", "Answer in two short sentences.");
    expect(old.filter((p) => p.changed).map((p) => p.text)).toEqual(["one", "sentence"]);
    expect(now.filter((p) => p.changed).map((p) => p.text)).toEqual(["two", "sentences"]);
  });

  it("no character is lost, whatever the script", () => {
    for (const [a, b] of [["Grüße, {{name}}!  ", "Grüße {{ name }}! 🙂"], ["", "x"], ["日本語です", "日本語でした"], ["a\tb", "a b"]] as const) {
      const [old, now] = wordPieces(a, b);
      expect(join(old)).toBe(a);
      expect(join(now)).toBe(b);
    }
  });

  it("lines with little in common are not picked apart", () => {
    const [old, now] = wordPieces("Be kind.", "Never give medical advice, and say so.");
    expect([...old, ...now].some((p) => p.changed)).toBe(false);
  });

  it("very long lines are shown whole", () => {
    const long = "word ".repeat(2_000);
    const [old, now] = wordPieces(long, `${long} more`);
    expect([...old, ...now].some((p) => p.changed)).toBe(false);
  });
});

describe("lines of a difference", () => {
  it("each line has its number on the side where it stands", () => {
    const found = diffLines([
      { mark: " ", text: "same" },
      { mark: "-", text: "You are kind." },
      { mark: "+", text: "You are very kind." },
      { mark: "+", text: "new" },
      { mark: " ", text: "end" },
    ]);
    expect(found.map((l) => [l.mark, l.old, l.new])).toEqual([
      [" ", 1, 1],
      ["-", 2, null],
      ["+", null, 2],
      ["+", null, 3],
      [" ", 3, 4],
    ]);
    expect(found[2]?.pieces.filter((p) => p.changed).map((p) => p.text)).toEqual(["very "]);
  });

  it("a removed message has no line on the new side", () => {
    expect(diffLines([{ mark: "-", text: "a" }, { mark: "-", text: "b" }]).map((l) => [l.old, l.new])).toEqual([[1, null], [2, null]]);
  });
});
