import { describe, expect, it } from "vitest";
import { ApiProblem, asProblem, readProblem } from "./problem";

describe("an error says what happened and what to do next", () => {
  it("reads problem+JSON", () => {
    const problem = readProblem(404, { detail: "no trace 'x'", code: "not_found", hint: "look again", request_id: "r1" });
    expect(problem).toMatchObject({ status: 404, code: "not_found", message: "No trace 'x'", hint: "Look again", requestId: "r1", passing: false });
  });
  it("names the fields of an invalid request", () => {
    expect(readProblem(400, { detail: "bad", errors: [{ loc: ["body", "name"], msg: "missing" }] }).errors).toEqual([{ loc: "body.name", msg: "missing" }]);
  });
  it("a page of a proxy is an unreachable control plane", () => {
    expect(readProblem(502, "<html>")).toMatchObject({ code: "unreachable", passing: true });
  });
  it("an answer without words is told by its status", () => expect(readProblem(418, null).message).toContain("418"));
  it("a failed fetch is an unreachable control plane", () => expect(asProblem(new TypeError("Failed to fetch")).code).toBe("unreachable"));
  it("a file of the console that does not come is told as that", () => {
    expect(asProblem(new TypeError("Failed to fetch dynamically imported module: /assets/x.js"))).toMatchObject({ code: "not_loaded", passing: true });
    expect(asProblem(new Error("Unable to preload CSS for /assets/x.css")).code).toBe("not_loaded");
  });
  it("a fault of our own is not blamed on the server", () => expect(asProblem(new Error("x is undefined")).code).toBe("console_error"));
  it("a problem stays itself", () => {
    const problem = new ApiProblem(409, "conflict", "taken");
    expect(asProblem(problem)).toBe(problem);
  });
  it.each([[0, true], [429, true], [500, true], [503, true], [400, false], [401, false], [404, false]])("status %d may pass: %s", (status, passing) => {
    expect(new ApiProblem(status, "c", "m").passing).toBe(passing);
  });
});
