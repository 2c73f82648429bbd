import { expect, it } from "vitest";
import { readAuditSearch, sinceOf } from "./search";

it("the URL says what is shown, and nonsense in it is left out", () => {
  expect(readAuditSearch({ tab: "actions", actor: "ann", window: "7d", action: "key." })).toEqual({ tab: "actions", actor: "ann", window: "7d", action: "key." });
  expect(readAuditSearch({ tab: "x", actor: "", window: "toString", ref: 3 })).toEqual({});
});

it("a window begins at a full hour, and none begins never", () => {
  expect(sinceOf("24h", Date.parse("2026-01-02T10:20:30Z"))).toBe("2026-01-01T10:00:00.000Z");
  expect(sinceOf(undefined, 0)).toBeUndefined();
});
