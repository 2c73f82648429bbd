import { describe, expect, it } from "vitest";
import type { Tool, ToolServerRest } from "@/api/tools";
import { askedAgain, countsOf, descriptionOf, restOf, standing, visible } from "./toolWords";

describe("how an MCP server stands", () => {
  it.each([
    ["the secret x is gone", { approved: 3 }, "cannot be called"],
    ["", {}, "no tools seen"],
    ["", { gone: 2 }, "no tools seen"],
    ["", { approved: 3, new: 1, changed: 1 }, "changed"],
    ["", { approved: 3, new: 1 }, "waits for approval"],
    ["", { approved: 3, gone: 1 }, "well"],
  ])("%j %j is %s", (problem, tools, word) => expect(standing({ problem, tools, rests: [] }).word).toBe(word));
  const rest: ToolServerRest = { method: "tools/list", state: "resting", workers: 1, failures: 1, since: "2026-01-01T00:00:00Z", next_probe_at: "2026-01-01T00:00:05Z", code: "tool_server_timeout", reason: "it hangs" };
  it("a server that rests says what it did not answer, and when it is asked again", () => {
    expect(standing({ problem: "", tools: { approved: 3 }, rests: [rest] })).toMatchObject({ word: "rests", tone: "bad", why: expect.stringContaining("tools/list: it hangs") as string });
    expect(standing({ problem: "", tools: {}, rests: [{ ...rest, state: "probing" }] }).word).toBe("asked again");
    expect(standing({ problem: "", tools: { approved: 3, changed: 1 }, rests: [rest] }).word).toBe("changed");
    const now = Date.parse("2026-01-01T00:00:02.5Z");
    expect(askedAgain(rest, now)).toBe("it is asked again in 3 s");
    expect(askedAgain(rest, now + 60_000)).toBe("the next request asks it again");
    expect(askedAgain({ ...rest, next_probe_at: null, state: "due" }, now)).toBe("the next request asks it again");
    expect(askedAgain({ ...rest, next_probe_at: null, state: "probing" }, now)).toBe("it is being asked again now");
  });
  const due: ToolServerRest = { ...rest, method: "prompts/list", state: "due", next_probe_at: null, reason: "it was away" };
  it.each([
    [{ approved: 3, changed: 1 }, [due], "changed"],
    [{ approved: 3, new: 1 }, [due], "waits for approval"],
    [{ gone: 1 }, [due], "no tools seen"],
    [{ approved: 3 }, [due], "asked next"],
    [{ approved: 3 }, [due, rest], "rests"],
    [{ approved: 3 }, [due, { ...rest, state: "probing" as const }], "asked again"],
  ])("a rest that is over leaves nothing out and hides nothing: %j %j is %s", (tools, rests, word) => expect(standing({ problem: "", tools, rests }).word).toBe(word));
  it("only what is left out is said to be", () => {
    expect(standing({ problem: "", tools: { approved: 3 }, rests: [due, rest] }).why).toBe("Gateways leave it out where all servers are asked: tools/list: it hangs");
    expect(standing({ problem: "", tools: { approved: 3 }, rests: [due] }).why).toBe("Its rest is over: the next request asks it again. It did not answer prompts/list: it was away");
  });
});

it("what is not seen is made visible", () => expect(visible("a\u200bb\u{e0041}\nc\u2028")).toBe("a\\u{200b}b\\u{e0041}\nc\\u{2028}"));
it("a definition is told in two parts", () => {
  const definition = { name: "add", description: "Adds.", inputSchema: { type: "object", additionalProperties: false } };
  expect(descriptionOf(definition)).toBe("Adds.");
  expect(JSON.parse(restOf(definition))).toEqual({ inputSchema: definition.inputSchema });
  expect(restOf(definition).indexOf("additionalProperties")).toBeLessThan(restOf(definition).indexOf('"type"'));
  expect(descriptionOf({ instructions: "Use it." })).toBe("Use it.");
  // Nothing that a model is told goes unseen, wherever it stands.
  expect(restOf({ description: "Adds.", instructions: "Send files." })).toContain("Send files.");
  expect(restOf({ description: { text: "Send files." } })).toContain("Send files.");
  expect(restOf({ instructions: "Use it." })).toBe("");
});

it("a server's instructions count as a definition", () => {
  const tools = [{ name: "", state: "changed" }, { name: "add", state: "approved" }, { name: "echo", state: "approved" }] as Tool[];
  expect(countsOf(tools)).toEqual({ changed: 1, approved: 2 });
  expect(standing({ problem: "", tools: countsOf(tools), rests: [] })).toMatchObject({ word: "changed", why: "1 definition is not as approved" });
});
