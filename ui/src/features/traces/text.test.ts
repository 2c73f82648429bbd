import { describe, expect, it } from "vitest";
import { inlines, textBlocks } from "./text";

describe("code in an answer", () => {
  it("is set apart from prose", () => {
    expect(textBlocks("Do this:\n\n```sh\nls\n```\n\nDone.")).toEqual([{ kind: "prose", text: "Do this:", language: "" }, { kind: "code", text: "ls", language: "sh" }, { kind: "prose", text: "Done.", language: "" }]);
  });
  it("an open fence lasts to the end", () => expect(textBlocks("```\na\nb")).toEqual([{ kind: "code", text: "a\nb", language: "" }]));
  it("a longer fence holds a shorter one", () => expect(textBlocks("````\n```\nx\n```\n````")).toEqual([{ kind: "code", text: "```\nx\n```", language: "" }]));
  it("keeps the indentation of prose", () => expect(textBlocks("\n  a\n    b\n")[0]?.text).toBe("  a\n    b"));
  it("is nothing for nothing", () => expect(textBlocks("")).toEqual([]));
});

it("inline code and strong words", () => {
  expect(inlines("move `a` **now** ok").map((p) => p.kind)).toEqual(["text", "code", "text", "strong", "text"]);
  expect(inlines("2 * 3 ** 4 ` x")).toEqual([{ kind: "text", text: "2 * 3 ** 4 ` x" }]);
});
