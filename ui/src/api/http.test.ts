import { describe, expect, it, vi } from "vitest";
import { answer, control, queryText, whenSignedOut } from "./http";

const reply = (status: number, body: string, type = "application/json") => vi.spyOn(globalThis, "fetch").mockResolvedValue(new Response(status === 204 ? null : body, { status, headers: { "content-type": type } }));
const ask = () => answer(control.GET("/api/v1/status"));

describe("an answer of the control plane", () => {
  it("is its JSON", async () => {
    reply(200, '{"version":"1"}');
    await expect(ask()).resolves.toEqual({ version: "1" });
  });
  it("that refuses is a problem with its hint", async () => {
    reply(403, '{"detail":"no","code":"forbidden","hint":"ask an admin"}', "application/problem+json");
    await expect(ask()).rejects.toMatchObject({ status: 403, code: "forbidden", hint: "Ask an admin" });
  });
  it("that is a proxy's page is named so", async () => {
    reply(200, "<html>", "text/html");
    await expect(ask()).rejects.toMatchObject({ code: "unexpected_answer" });
  });
  it("that is a gateway's error page is an unreachable control plane", async () => {
    reply(502, "<html>bad gateway</html>", "text/html");
    await expect(ask()).rejects.toMatchObject({ code: "unreachable" });
  });
  it("that never comes is an unreachable control plane", async () => {
    vi.spyOn(globalThis, "fetch").mockRejectedValue(new TypeError("Failed to fetch"));
    await expect(ask()).rejects.toMatchObject({ code: "unreachable", passing: true });
  });
  it("that ends the session tells who listens", async () => {
    const told = vi.fn();
    whenSignedOut(told);
    reply(401, '{"detail":"sign in","code":"unauthenticated"}');
    await expect(ask()).rejects.toMatchObject({ status: 401 });
    expect(told).toHaveBeenCalledOnce();
  });
  it("of 204 is nothing", async () => {
    reply(204, "");
    await expect(answer(control.DELETE("/api/v1/session"))).resolves.toBeUndefined();
  });
});

it("a query leaves out what is empty, and keeps zero and false", () => {
  expect(queryText({ a: "", b: null, c: undefined, d: 0, e: false, f: "x y&z" })).toBe("?d=0&e=false&f=x+y%26z");
  expect(queryText({})).toBe("");
});
