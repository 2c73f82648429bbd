import { describe, expect, it } from "vitest";
import type { Session } from "@/api/session";
import { isAdmin, standingIn } from "./standing";

const of = (name: string, scopes: string[], read_only = false) => ({ name, title: name, created_at: "2026-01-01T00:00:00Z", scopes, read_only });
const session: Session = {
  principal: { id: "person_1", name: "Ada", kind: "person" },
  scopes: ["control"],
  read_only: true,
  everywhere: false,
  projects: [of("default", ["control"], true), of("mail", ["admin", "control"]), of("web", ["control"])],
  version: "0.1.0",
  expires_at: null,
};

describe("what somebody may do", () => {
  it("is told by the project: its admin is one there and nowhere else", () => {
    expect(isAdmin(standingIn(session, "mail"))).toBe(true);
    expect(isAdmin(standingIn(session, "web"))).toBe(false);
    expect(isAdmin(standingIn(session, "default"))).toBe(false);
  });
  it("tells who only reads here from who may act", () => {
    expect(standingIn(session, "web").read_only).toBe(false);
    expect(standingIn(session, "default").read_only).toBe(true);
  });
  it("is what holds everywhere where there is no project", () => {
    expect(standingIn(session, undefined)).toMatchObject({ scopes: ["control"], read_only: true });
    expect(isAdmin(standingIn({ ...session, scopes: ["admin"], read_only: false, everywhere: true }, "another"))).toBe(true);
  });
});
