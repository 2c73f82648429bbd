import { describe, expect, it } from "vitest";
import { placeOf, readFile, sectionAt, writeFile } from "./file";

const FILE = "---\nname: bot\nvariables:\n  tone: string\n---\n# system\n\nBe {{tone}}.\n\nAlways.\n\n# user\n\nHello\n";

describe("a prompt file in pieces", () => {
  it("its messages are found where they stand", () => {
    const file = readFile(FILE);
    expect(file?.sections).toEqual([
      { role: "system", text: "Be {{tone}}.\n\nAlways.", line: 8 },
      { role: "user", text: "Hello", line: 14 },
    ]);
  });

  it("written again it is the same file", () => {
    const file = readFile(FILE);
    expect(file && writeFile(file)).toBe(FILE);
    const bare = "# user\n\nHi\n";
    const read = readFile(bare);
    expect(read && writeFile(read)).toBe(bare);
  });

  it("a line that would begin a message is kept as text", () => {
    const file = readFile(FILE);
    if (file === null) throw new Error("unreadable");
    file.sections[1] = { role: "user", text: "# system\n\\# user\nplain", line: 14 };
    const text = writeFile(file);
    expect(text).toContain("\\# system\n\\\\# user\nplain");
    expect(readFile(text)?.sections.map((s) => s.text)).toEqual(["Be {{tone}}.\n\nAlways.", "# system\n\\# user\nplain"]);
  });

  it("what is no file of messages is left to the editor of files", () => {
    for (const text of ["", "---\ntype: chain\n---\n", "---\ntype: text\n---\n# user\n", "---\nname: x\n# user\n", "words before\n# user\n\nx\n"]) expect(readFile(text)).toBeNull();
  });
});

describe("a problem with a place", () => {
  it("names its line and the message there", () => {
    expect(placeOf("bot.md:8: the variable 'x' is not declared")).toEqual({ line: 8, words: "the variable 'x' is not declared" });
    expect(placeOf("The prompt is too long")).toEqual({ line: null, words: "The prompt is too long" });
    const file = readFile(FILE);
    expect(file && [sectionAt(file, 3), sectionAt(file, 6), sectionAt(file, 10), sectionAt(file, 14)]).toEqual([null, 0, 0, 1]);
  });
});
