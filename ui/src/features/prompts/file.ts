/** A prompt file in the pieces in which people read it; `line` is where a message's text begins, from 1. */
export interface Section {
  role: string;
  text: string;
  line: number;
}

export interface PromptFile {
  /** Everything before the first message: front matter, and what stands between it and the message. */
  head: string;
  sections: Section[];
}

const HEADING = /^# (system|developer|user|assistant|placeholder)[ \t]*$/;
const LOOKS_LIKE_HEADING = /^#[ \t]*(system|developer|user|assistant|placeholder|tool)s?[ \t]*:?[ \t]*$/i;
const ESCAPED = /^\\+#[ \t]*(system|developer|user|assistant|placeholder|tool)s?[ \t]*:?[ \t]*$/i;

/** Reads a file of messages; null where it is no such file (a text prompt, a chain, or nothing that can be read). */
export function readFile(text: string): PromptFile | null {
  const lines = text.replaceAll("\r\n", "\n").split("\n");
  let body = 0;
  if (lines[0]?.trimEnd() === "---") {
    const end = lines.findIndex((line, n) => n > 0 && line.trimEnd() === "---");
    if (end < 0) return null;
    body = end + 1;
    if (lines.slice(1, end).some((line) => /^type:\s*["']?(text|chain)\b/.test(line))) return null;
  }
  const starts: number[] = [];
  for (let n = body; n < lines.length; n++) if (HEADING.test(lines[n] ?? "")) starts.push(n);
  const first = starts[0];
  if (first === undefined || lines.slice(body, first).some((line) => line.trim() !== "")) return null;
  const sections = starts.map((start, index): Section => {
    let begin = start + 1;
    let end = starts[index + 1] ?? lines.length;
    while (begin < end && lines[begin]?.trim() === "") begin++;
    while (end > begin && lines[end - 1]?.trim() === "") end--;
    return { role: HEADING.exec(lines[start] ?? "")?.[1] ?? "user", text: lines.slice(begin, end).map((line) => (ESCAPED.test(line) ? line.slice(1) : line)).join("\n"), line: begin + 1 };
  });
  return { head: lines.slice(0, first).join("\n"), sections };
}

/** Writes the file anew, as the product itself writes it: one empty line around each text. */
export function writeFile(file: PromptFile): string {
  const escaped = (text: string): string =>
    text
      .split("\n")
      .map((line) => (LOOKS_LIKE_HEADING.test(line) || ESCAPED.test(line) ? `\\${line}` : line))
      .join("\n");
  const body = file.sections.map((section) => `# ${section.role}\n\n${escaped(section.text)}\n`).join("\n");
  return file.head === "" ? body : `${file.head}\n${body}`;
}

/** The line that a problem names (`NAME.md:12: …`), and its words without it. */
export function placeOf(message: string): { line: number | null; words: string } {
  const found = /^[^\n:]*:(\d+):\s*/.exec(message);
  return found ? { line: Number(found[1]), words: message.slice(found[0].length) } : { line: null, words: message };
}

/** The message that a line of the file belongs to, by place. */
export function sectionAt(file: PromptFile, line: number): number | null {
  let found: number | null = null;
  for (const [index, section] of file.sections.entries()) if (section.line - 2 <= line) found = index;
  return found;
}
