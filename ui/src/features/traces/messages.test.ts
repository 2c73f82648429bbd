import { describe, expect, it } from "vitest";
import { plainText, previewText, readMessages } from "./messages";

const brief = (value: unknown, side: "input" | "output" = "input") => readMessages(value, side)?.map((m) => [m.role, ...m.parts.map((p) => p.kind)].join(" ")) ?? null;

describe("an OpenAI chat", () => {
  it("is read message by message", () => {
    const body = { model: "m", messages: [{ role: "developer", content: "be brief" }, { role: "user", content: "hi" }] };
    expect(brief(body)).toEqual(["system text", "user text"]);
  });
  it("its answer carries the finish reason", () => {
    const answer = readMessages({ choices: [{ finish_reason: "stop", message: { role: "assistant", content: "hello" } }] }, "output");
    expect(answer?.[0]).toMatchObject({ role: "assistant", finish: "stop", parts: [{ kind: "text", text: "hello" }] });
  });
  it("tool calls show their name and indented arguments", () => {
    const answer = readMessages({ choices: [{ message: { content: null, tool_calls: [{ id: "c1", type: "function", function: { name: "search", arguments: '{"q":"x"}' } }] } }] }, "output");
    expect(answer?.[0]?.parts).toEqual([{ kind: "call", id: "c1", name: "search", arguments: '{\n  "q": "x"\n}' }]);
  });
  it("broken arguments of a tool call stay as they came", () => {
    const answer = readMessages([{ role: "assistant", tool_calls: [{ function: { name: "f", arguments: '{"q":' } }] }], "output");
    expect(answer?.[0]?.parts[0]).toMatchObject({ kind: "call", arguments: '{"q":' });
  });
  it("a tool's message is the result of its call", () => {
    expect(readMessages([{ role: "tool", tool_call_id: "c1", content: "42" }], "input")?.[0]?.parts).toEqual([{ kind: "result", id: "c1", text: "42" }]);
  });
  it("reasoning comes before the answer", () => {
    expect(brief({ choices: [{ message: { reasoning_content: "hm", content: "yes" } }] }, "output")).toEqual(["assistant reasoning text"]);
  });
  it("pictures are named, and inline ones are not copied into the page", () => {
    const message = readMessages([{ role: "user", content: [{ type: "text", text: "see" }, { type: "image_url", image_url: { url: `data:image/png;base64,${"A".repeat(5000)}` } }] }], "input")?.[0];
    expect(message?.parts[1]).toEqual({ kind: "media", label: "image_url", source: "data:image/png;base64,… (5022 characters)" });
  });
  it("an old completion prompt is a user's text", () => expect(brief({ prompt: "once" })).toEqual(["user text"]));
});

describe("Anthropic messages", () => {
  it("the system text comes first", () => {
    expect(brief({ system: "be kind", messages: [{ role: "user", content: [{ type: "text", text: "hi" }] }] })).toEqual(["system text", "user text"]);
  });
  it("thinking, tool use and stop reason are read", () => {
    const answer = readMessages({ role: "assistant", stop_reason: "tool_use", content: [{ type: "thinking", thinking: "hm" }, { type: "tool_use", id: "t", name: "f", input: { a: 1 } }] }, "output");
    expect(answer?.[0]?.finish).toBe("tool_use");
    expect(answer?.[0]?.parts.map((p) => p.kind)).toEqual(["reasoning", "call"]);
  });
  it("tool results may be blocks", () => {
    expect(readMessages([{ role: "user", content: [{ type: "tool_result", tool_use_id: "t", content: [{ type: "text", text: "ok" }] }] }], "input")?.[0]?.parts[0]).toEqual({ kind: "result", id: "t", text: "ok" });
  });
});

describe("OpenTelemetry GenAI messages", () => {
  it("parts of every kind are read", () => {
    const value = [{ role: "assistant", parts: [{ type: "reasoning", content: "hm" }, { type: "text", content: "yes" }, { type: "tool_call", id: "1", name: "f", arguments: { a: 1 } }, { type: "blob", mime_type: "image/png", content: "AAAA" }, { type: "novel", x: 1 }], finish_reason: "stop" }];
    expect(brief(value, "output")).toEqual(["assistant reasoning text call media json"]);
    expect(readMessages(value, "output")?.[0]?.finish).toBe("stop");
  });
  it("tool responses are results", () => {
    expect(brief([{ role: "tool", parts: [{ type: "tool_call_response", id: "1", response: { a: 1 } }] }])).toEqual(["tool result"]);
  });
});

describe("the Responses API", () => {
  it("messages and function calls", () => {
    expect(brief({ output: [{ type: "message", role: "assistant", content: [{ type: "output_text", text: "hi" }] }, { type: "function_call", call_id: "c", name: "f", arguments: "{}" }] }, "output")).toEqual(["assistant text", "assistant call"]);
  });
  it("instructions with a plain input", () => expect(brief({ instructions: "x", input: "hello" })).toEqual(["system text", "user text"]));
});

describe("anything else", () => {
  it("a bare text is said by its side", () => {
    expect(brief("hello", "input")).toEqual(["user text"]);
    expect(brief("hello", "output")).toEqual(["assistant text"]);
  });
  it("a JSON text is read as what it says", () => expect(brief('{"messages":[{"role":"user","content":"x"}]}')).toEqual(["user text"]));
  it("text that only starts like JSON stays text", () => expect(brief("{not json", "input")).toEqual(["user text"]));
  it("nothing is an empty conversation", () => expect([null, undefined, ""].map((v) => brief(v))).toEqual([[], [], []]));
  it("an embedding request is no conversation", () => expect(brief({ model: "e", input: ["a", "b"] })).toBeNull());
  it("numbers are no conversation", () => expect(brief(3)).toBeNull());
  it("an unknown role keeps its name", () => expect(readMessages([{ role: "critic", content: "no" }], "input")?.[0]).toMatchObject({ role: "other", label: "critic" }));
  it("unknown content stays visible", () => expect(brief([{ role: "user", content: [{ type: "hologram", data: 1 }, 7] }])).toEqual(["user json json"]));
  it("the clipboard gets plain words", () => {
    expect(plainText(readMessages([{ role: "user", content: "a" }, { role: "assistant", tool_calls: [{ function: { name: "f", arguments: "{}" } }] }], "input") ?? [])).toBe("a\n\nf({})");
  });
});

describe("the preview of a list", () => {
  it.each([
    ["hello", "hello"],
    ['[{"role":"user","content":"What is a ref?"}]', "What is a ref?"],
    ['[{"role":"system","content":"be brief"},{"role":"user","content":"Say \\"hi\\"\\nnow', 'Say "hi"\nnow'],
    ['[{"role":"user","content":"cut in an escape \\u00e', "cut in an escape "],
    ['[{"role":"user","content":"cut \\', "cut "],
    ['{"messages":[{"role":"user","content":[{"type":"text","text":"parts', "parts"],
    ['{"input":["a"]}', '{"input":["a"]}'],
    ["{not json", "{not json"],
    ["", ""],
  ])("of %j is %j", (preview, text) => expect(previewText(preview, "input")).toBe(text));
});
