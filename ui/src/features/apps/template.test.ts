import { describe, expect, it } from "vitest";
import { pythonLiteral, shellQuote, snippets, templatePieces } from "./template";

describe("a template", () => {
  it.each([
    ["a {{ b }} c", ["a ", "*{{ b }}", " c"]],
    ["{{a}}{{b}}", ["*{{a}}", "*{{b}}"]],
    ["{% if x %}y{% endif %}", ["*{% if x %}", "y", "*{% endif %}"]],
    ["no { variable } here", ["no { variable } here"]],
    ["", []],
  ])("%s", (text, pieces) => expect(templatePieces(text).map((p) => (p.variable ? "*" : "") + p.text)).toEqual(pieces));
});

describe("snippets", () => {
  it("name the ref only where it is not the default", () => {
    expect(snippets("a", "production", true, {})[0]?.text).toContain('"app:a"');
    expect(snippets("a", "staging", false, {})[0]?.text).toContain('"app:a@staging"');
  });
  it("carry required variables", () => {
    const [curl, python] = snippets("a", "p", true, { who: "it's" });
    expect(curl?.text).toContain(`"tetrad":{"variables":{"who":"it'\\''s"}}`);
    expect(python?.text).toContain('extra_body={"tetrad": {"variables": {"who": "it\'s"}}}');
  });
});

it("a shell takes a quoted text as it is", () => expect(shellQuote("a'b $c")).toBe("'a'\\''b $c'"));
it("Python has its own words for some values", () => expect(pythonLiteral({ a: null, b: true, c: [1, "x"], d: false })).toBe('{"a": None, "b": True, "c": [1, "x"], "d": False}'));
