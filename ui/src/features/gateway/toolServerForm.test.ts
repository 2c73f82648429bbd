import { describe, expect, it } from "vitest";
import type { ToolServer } from "@/api/tools";
import { commandText, secretsIn, serverBodyOf, serverDraftOf, serverProblemsOf, wordsOf } from "./toolServerForm";

const draft = { ...serverDraftOf(undefined), name: "github", url: "https://mcp.example.com/mcp" };

describe("an MCP server's form", () => {
  it("finds nothing wrong with one that is whole", () => expect(serverProblemsOf(draft)).toEqual({}));
  it.each([
    ["a name with capitals", { name: "GitHub" }, "name"],
    ["a name that is taken", { name: "taken" }, "name"],
    ["an address that is none", { url: "mcp.example.com" }, "url"],
    ["a credential in the address", { url: "https://me:secret@mcp.example.com/mcp" }, "url"],
    ["a command with an open quote", { kind: "command" as const, command: "uvx 'a" }, "command"],
    ["no command", { kind: "command" as const, command: " " }, "command"],
    ["a secret that is typed", { headers: [{ name: "Authorization", value: "Bearer abc" }] }, "headers.0.value"],
    ["a secret that is not there", { headers: [{ name: "Authorization", value: "Bearer {gone}" }] }, "headers.0.value"],
    ["a header that is none", { headers: [{ name: "X Y", value: "1" }] }, "headers.0.name"],
    ["a header twice", { headers: [{ name: "X-A", value: "1" }, { name: "x-a", value: "2" }] }, "headers.1.name"],
    ["no pattern", { allow: [] }, "allow"],
    ["a key without a pattern", { access: [{ subject: "key" as const, name: "key_1", tools: [] }] }, "access.0.tools"],
    ["nothing that is served", { serves: [] }, "serves"],
  ])("names %s", (_, change, field) => expect(Object.keys(serverProblemsOf({ ...draft, ...change }, ["taken"], ["token"]))).toEqual([field]));

  const server = { ...serverBodyOf({ ...draft, headers: [{ name: "Authorization", value: "Bearer {token}" }] }), name: "github", internal: true, tools: { new: 1 }, problem: "", rests: [], future: "kept" } as ToolServer;
  it("sends back what it does not show, and nothing that is only shown", () => {
    const body = serverBodyOf(serverDraftOf(server), server);
    expect(body).toEqual({ ...body, future: "kept", internal: true, headers: { Authorization: "Bearer {token}" } });
    for (const shown of ["name", "tools", "problem", "rests", "kind"]) expect(shown in body).toBe(false);
  });
  it("takes what was said of one address for no other", () => {
    expect(serverBodyOf({ ...serverDraftOf(server), url: "https://elsewhere.example/mcp" }, server).internal).toBe(false);
  });
  it("sends headers with an address only, and variables with a program only", () => {
    const body = serverBodyOf({ ...serverDraftOf(server), kind: "command", command: "uvx x", env: [{ name: "A", value: "{token}" }] });
    expect([body.url, body.headers, body.command, body.env]).toEqual(["", {}, ["uvx", "x"], { A: "{token}" }]);
  });
});

it.each([[["uvx", "mcp-server-git", "--repository", "/srv/my repo"]], [["sh", "-c", `echo 'it' "is" \\ there`]], [["a", ""]]])("a command reads back as it was: %j", (words) => expect(wordsOf(commandText(words))).toEqual(words));
it("a command is read as a shell reads it", () => expect(wordsOf(`a "b c"  'd "e' f\\ g "h\\"i" "j\\k"`)).toEqual(["a", "b c", 'd "e', "f g", 'h"i', "j\\k"]));
it("secrets are named in braces", () => expect(secretsIn("Basic {user}:{pass-1} {}")).toEqual(["user", "pass-1"]));
