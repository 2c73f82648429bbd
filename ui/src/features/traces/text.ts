/** A text in pieces: prose, and the code between fences. */
export interface Block {
  kind: "prose" | "code";
  text: string;
  language: string;
}

/** Splits Markdown at its code fences; an open fence lasts to the end, as it does while an answer streams. */
export function textBlocks(text: string): Block[] {
  const blocks: Block[] = [];
  let prose: string[] = [];
  let code: string[] | null = null;
  let fence = "";
  let language = "";
  const endProse = (): void => {
    const joined = prose.join("\n").replace(/^\n+|\n+$/g, "");
    if (joined !== "") blocks.push({ kind: "prose", text: joined, language: "" });
    prose = [];
  };
  for (const line of text.split("\n")) {
    if (code === null) {
      const open = /^\s*(`{3,}|~{3,})\s*([\w+-]*)\s*$/.exec(line);
      if (open) {
        endProse();
        code = [];
        fence = open[1] ?? "```";
        language = open[2] ?? "";
      } else prose.push(line);
    } else if (new RegExp(`^\\s*${fence.charAt(0)}{${fence.length},}\\s*$`).test(line)) {
      blocks.push({ kind: "code", text: code.join("\n"), language });
      code = null;
    } else code.push(line);
  }
  if (code !== null) blocks.push({ kind: "code", text: code.join("\n"), language });
  endProse();
  return blocks;
}

/** Inline code and strong words of a line of prose. */
export function inlines(text: string): { kind: "text" | "code" | "strong"; text: string }[] {
  return text
    .split(/(`[^`\n]+`|\*\*[^*\n]+\*\*)/)
    .filter((piece) => piece !== "")
    .map((piece) => {
      if (piece.length > 2 && piece.startsWith("`") && piece.endsWith("`")) return { kind: "code" as const, text: piece.slice(1, -1) };
      if (piece.length > 4 && piece.startsWith("**") && piece.endsWith("**")) return { kind: "strong" as const, text: piece.slice(2, -2) };
      return { kind: "text" as const, text: piece };
    });
}
