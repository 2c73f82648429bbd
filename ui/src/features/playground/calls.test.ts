import { describe, expect, it } from "vitest";
import type { App } from "@/api/apps";
import { callSnippets, messagesOf, NO_PARAMS, paramsOf, releaseOf, rowOf } from "./calls";
import { readPlaygroundSearch, targetsIn } from "./search";

const said = (text: string, ...images: string[]) => ({ text, images });

describe("the messages of one contender", () => {
  it("hold its own answers, and leave turns out that it did not answer", () =>
    expect(messagesOf("Be brief.", [said("a"), said("b"), said("c")], (turn) => (turn === 1 ? "B" : undefined))).toEqual([
      { role: "system", content: "Be brief." },
      { role: "user", content: "b" },
      { role: "assistant", content: "B" },
      { role: "user", content: "c" },
    ]));
  it("ask the last turn again, whatever was answered to it", () => expect(messagesOf(" ", [said("a")], () => "A")).toEqual([{ role: "user", content: "a" }]));
  it("carry images beside the words", () =>
    expect(messagesOf("", [said("What is it?", "https://x.example/a.png")], () => undefined)).toEqual([
      { role: "user", content: [{ type: "text", text: "What is it?" }, { type: "image_url", image_url: { url: "https://x.example/a.png" } }] },
    ]));
});

describe("parameters", () => {
  it("that are empty are not sent", () => expect(paramsOf({ ...NO_PARAMS, max_tokens: "" })).toEqual({ params: {}, problems: {} }));
  it("are numbers, and a schema asks for an answer in JSON", () => {
    const { params } = paramsOf({ ...NO_PARAMS, temperature: "0.2", seed: "7", schema: '{"type":"object"}' });
    expect(params).toEqual({ temperature: 0.2, max_tokens: 512, seed: 7, response_format: { type: "json_schema", json_schema: { name: "answer", schema: { type: "object" }, strict: true } } });
  });
  it.each([
    [{ temperature: "hot" }, "temperature"],
    [{ temperature: "3" }, "temperature"],
    [{ top_p: "1.1" }, "top_p"],
    [{ max_tokens: "0" }, "max_tokens"],
    [{ seed: "1.5" }, "seed"],
    [{ schema: "[]" }, "schema"],
    [{ schema: "{" }, "schema"],
    [{ stop: ["1", "2", "3", "4", "5"] }, "stop"],
  ])("%o is refused", (change, field) => expect(Object.keys(paramsOf({ ...NO_PARAMS, ...change }).problems)).toEqual([field]));
});

it("a target is a release by its app's ref, its digest, or not at all", () => {
  const apps = [{ name: "bot", default_ref: "production", refs: [{ name: "production", digest: "sha256:p" }, { name: "staging", digest: "sha256:s" }] }] as unknown as App[];
  expect(["app:bot", "app:bot@staging", "app:bot@sha256:x", "release:sha256:y", "app:other", "acme/big"].map((target) => releaseOf(target, apps))).toEqual(["sha256:p", "sha256:s", "sha256:x", "sha256:y", "", ""]);
});

it("a call is told as a shell, Python and TypeScript take it", () => {
  const [curl, python, typescript] = callSnippets({ model: "app:bot", messages: [{ role: "user", content: "it's" }], params: { temperature: 0 }, variables: { tone: true } });
  expect(curl?.text).toContain("it'\\''s");
  expect(python?.text).toContain("    temperature=0,\n");
  expect(python?.text).toContain('    extra_body={"tetrad": {"variables": {"tone": True}}},\n');
  expect(typescript?.text).toContain('"tetrad": {');
});

it("a row holds variables only where there are some", () => expect([rowOf([], {}), rowOf([], { a: 1 })]).toEqual([{ messages: [] }, { messages: [], variables: { a: 1 } }]));

it("the address names up to four that answer, each once", () => {
  expect(targetsIn("a,b,,a,c,d,e")).toEqual(["a", "b", "c", "d"]);
  expect(readPlaygroundSearch({ with: "" })).toEqual({});
});
