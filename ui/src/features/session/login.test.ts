import { describe, expect, it } from "vitest";
import { safeNext } from "./LoginPage";

describe("after signing in the visitor stays on this site", () => {
  it.each(["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "evil", "", undefined])("%s leads home", (next) => expect(safeNext(next)).toBe("/"));
  it("a page of the console is kept with its filters", () => expect(safeNext("/p/default/traces?status=error")).toBe("/p/default/traces?status=error"));
  it("the sign-in page does not lead to itself", () => expect(safeNext("/login?token=x")).toBe("/"));
});
