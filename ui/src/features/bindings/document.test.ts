import { expect, it } from "vitest";
import { boundNames } from "./document";

it("says who answers for each logical name, by which secret and how much", () => {
  const names = boundNames({
    schema: "tetrad.binding/1",
    providers: { llm: { provider: "azure-eu", models: { chat: "gpt-5-mini" }, secret: "EU_KEY", max_concurrency: 64 }, local: { engine: "smollm2" } },
    indexes: { handbook: { index: "handbook-2026" } },
    tools: { search: { url: "https://tools.example.com/search", timeout_s: 5 } },
    mcp_servers: { files: { server: "files-eu" }, wiki: { url: "https://wiki.example.com/mcp" } },
  });
  expect(names.map((each) => `${each.section} ${each.name}: ${each.means}`)).toEqual(["provider llm: provider azure-eu", "provider local: engine smollm2", "index handbook: index handbook-2026", "tool search: https://tools.example.com/search", "MCP server files: registered server files-eu", "MCP server wiki: https://wiki.example.com/mcp"]);
  expect(names[0]).toMatchObject({ models: [["chat", "gpt-5-mini"]], secret: "EU_KEY", limit: "64 calls at once" });
  expect(names[3]?.limit).toBe("5 s");
});

it("takes a document that it does not know for one without names", () => {
  expect(boundNames({ providers: "?", tools: [1] })).toEqual([]);
  expect(boundNames(null)).toEqual([]);
});
