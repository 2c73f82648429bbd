import { expect, it } from "vitest";
import type { StaleCause, StaleState } from "@/api/staleness";
import { reasons, stateLook } from "./state";

const cause = (state: StaleState, said: string): StaleCause => ({ state, said }) as StaleCause;

it("says where a cause began, each once, before what merely stands between", () => {
  expect(reasons({ causes: [cause("STALE", "model m is out of date")], roots: [cause("STALE", "dataset d is newer"), cause("STALE", "dataset d is newer")] })).toEqual(["dataset d is newer"]);
});

it("says what stands next to it where nothing lies between", () => {
  expect(reasons({ causes: [cause("BROKEN", "dataset d was revoked")], roots: [] })).toEqual(["dataset d was revoked"]);
});

it("keeps to one state when asked for it", () => {
  expect(reasons({ causes: [cause("STALE", "a newer prompt"), cause("BROKEN", "revoked data")], roots: [] }, "BROKEN")).toEqual(["revoked data"]);
});

it("tells what is broken from what is merely old", () => {
  expect(stateLook("BROKEN").tone).toBe("bad");
  expect(stateLook("STALE").tone).toBe("warn");
});
