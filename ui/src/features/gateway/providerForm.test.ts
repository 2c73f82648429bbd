import { describe, expect, it } from "vitest";
import { bodyOf, draftOf, NO_MODEL, optionsOf, optionTexts, problemsOf, withListed } from "./providerForm";

const draft = { ...draftOf(undefined), name: "acme", base_url: "https://api.acme.example/v1", models: [{ ...NO_MODEL, name: "big" }] };

describe("a provider's form", () => {
  it("finds nothing wrong with one that is whole", () => expect(problemsOf(draft)).toEqual({}));
  it.each([
    ["a name with capitals", { name: "Acme" }, "name"],
    ["a name that is taken", { name: "taken" }, "name"],
    ["an address that is none", { base_url: "api.acme.example" }, "base_url"],
    ["another scheme", { base_url: "ftp://acme.example" }, "base_url"],
    ["a credential in the address", { base_url: "https://me:secret@acme.example/v1" }, "base_url"],
    ["certificates without https", { base_url: "http://acme.example/v1", ca: "-----BEGIN" }, "ca"],
    ["more keys without a first", { secrets: ["b"] }, "secret"],
    ["no model", { models: [] }, "models"],
    ["a model without a name", { models: [NO_MODEL] }, "models.0.name"],
    ["a model twice", { models: [...draft.models, ...draft.models] }, "models.1.name"],
    ["a model that does nothing", { models: [{ ...NO_MODEL, name: "big", kinds: [] }] }, "models.0.kinds"],
    ["half a price", { models: [{ ...NO_MODEL, name: "big", input: "0.25" }] }, "models.0.output"],
    ["a price in words", { models: [{ ...NO_MODEL, name: "big", input: "cheap", output: "1" }] }, "models.0.input"],
  ])("names %s", (_, change, field) => expect(Object.keys(problemsOf({ ...draft, ...change }, ["taken"]))).toEqual([field]));

  it("sends an unknown price as unknown, never as nothing", () => expect(bodyOf(draft).models).toEqual([{ name: "big", kinds: ["chat"], deployment: "", price: null }]));
  it("sends back what it does not show", () => {
    const provider = { ...bodyOf(draft), name: "acme", future: "kept", models: [{ name: "big", kinds: ["chat"], deployment: "big-prod", price: { input: "0.25", output: "2", cache_read: "0.025", cache_write: null, currency: "USD", units: { image: "0.04" }, batch: "0.5" } }] };
    const again = bodyOf(draftOf(provider));
    expect(again).toMatchObject({ future: "kept", models: provider.models });
    expect("name" in again).toBe(false);
  });
});

it("options are typed as name=value, and what is neither is left out", () => {
  expect(optionsOf(["region=eu-west-1", "url=a=b", "=x", "none"])).toEqual({ region: "eu-west-1", url: "a=b" });
  expect(optionTexts({ region: "eu-west-1" })).toEqual(["region=eu-west-1"]);
});

it("leaves out whether it is inside the network, unless somebody said so", () => {
  expect("internal" in bodyOf({ ...draft, internal: true })).toBe(false);
  expect(bodyOf({ ...draft, internal: true, reach: false }).internal).toBe(false);
});
it("takes listed models in and out, and leaves those alone that are not listed", () => {
  const own = { ...NO_MODEL, name: "own", input: "1", output: "2" };
  const before = { ...draft, models: [own, { ...NO_MODEL, name: "a" }, NO_MODEL] };
  const after = withListed(before, ["a", "b-embed"], ["b-embed"], () => "embeddings");
  expect(after.models).toEqual([own, { ...NO_MODEL, name: "b-embed", kinds: ["embeddings"] }]);
  expect(withListed({ ...draft, models: [NO_MODEL] }, ["a"], [], () => "chat").models).toEqual([NO_MODEL]);
});
