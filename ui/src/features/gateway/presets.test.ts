import { describe, expect, it } from "vitest";
import type { Preset } from "@/api/gateway";
import { addressOf, freeName, kindOf, loginMatters, noteOf, presetDraft, withPlace } from "./presets";
import { bodyOf, draftOf, NO_MODEL, problemsOf } from "./providerForm";

const bedrock: Preset = { name: "bedrock", title: "Amazon Bedrock", base_url: "https://bedrock-runtime.{region}.amazonaws.com", adapter: "bedrock", system: "aws", auth: "sigv4", secret: "a JSON object", options: {}, operations: [], places: ["region"], local: false, note: "" };
const NAMED = { models: [{ ...NO_MODEL, name: "m" }] };

describe("a preset", () => {
  const draft = { ...presetDraft(draftOf(undefined), bedrock, ["bedrock"]), ...NAMED };
  it("asks for what of its address has to be given", () => expect(Object.keys(problemsOf(draft))).toEqual(["places.region"]));
  it("is whole once that is given, and signs by the region", () => {
    const whole = withPlace(draft, "region", "eu-west-1");
    expect(problemsOf(whole)).toEqual({});
    const body = bodyOf(whole);
    expect(body).toMatchObject({ base_url: "https://bedrock-runtime.eu-west-1.amazonaws.com", options: { region: "eu-west-1" }, auth: "sigv4", system: "aws" });
    for (const own of ["template", "places", "reach", "name"]) expect(own in body).toBe(false);
  });
  it("takes no address into a place", () => expect(Object.keys(problemsOf(withPlace(draft, "region", "evil.example/")))).toEqual(["places.region"]));
  it("gets a name that is free", () => {
    expect(draft.name).toBe("bedrock-2");
    expect(freeName("a", [])).toBe("a");
  });
});

it("a place twice is filled twice, and one that is not given stays", () => expect(addressOf("https://{region}-x/{project}/{region}", { region: "eu" })).toBe("https://eu-x/{project}/eu"));
it.each([["text-embedding-3-small", "embeddings"], ["rerank-v3", "rerank"], ["whisper-1", "transcriptions"], ["tts-1", "speech"], ["gpt-5-mini", "chat"], ["omni-moderation-latest", "moderations"]])("%s most likely does %s", (name, kind) => expect(kindOf(name)).toBe(kind));
it("notes are in the form's words", () => expect(noteOf("name deployments with --deployment MODEL=NAME; --auth bearer sends a token; give --base-url https://x.example/v1")).toBe("Name deployments with “Called” of a model; the login “bearer” sends a token; give the address https://x.example/v1."));
it("the login is asked where there is more than one", () => expect([loginMatters({ adapter: "openai", auth: "" }), loginMatters({ adapter: "openai", auth: "header" }), loginMatters({ adapter: "azure", auth: "" })]).toEqual([false, true, true]));
