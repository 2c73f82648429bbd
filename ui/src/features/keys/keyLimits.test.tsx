import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { act, renderHook, waitFor } from "@testing-library/react";
import type { ReactNode } from "react";
import { afterEach, expect, it, vi } from "vitest";
import { useLimitsOf } from "./keyLimits";

afterEach(() => vi.unstubAllGlobals());

const limit = (id: string, name: string) => ({ id, subject: "key", name, measure: "requests", amount: 60, hard: true });
const keys = (...ids: string[]) => ids.map((id) => ({ id }));
const answer = (...items: object[]) => new Response(JSON.stringify({ items, next_cursor: null }), { headers: { "content-type": "application/json" } });

/** The server: each request with the keys that it names, answered when a test says so. */
function served() {
  const asked: { names: string[]; answer: (response: Response) => void }[] = [];
  vi.stubGlobal("fetch", (request: Request) => new Promise<Response>((resolve) => asked.push({ names: new URL(request.url).searchParams.getAll("name"), answer: resolve })));
  return asked;
}

function shown(pages: { id: string }[][]) {
  const client = new QueryClient({ defaultOptions: { queries: { retry: false } } });
  const wrapper = ({ children }: { children: ReactNode }) => <QueryClientProvider client={client}>{children}</QueryClientProvider>;
  return renderHook(({ of }) => useLimitsOf("default", of), { wrapper, initialProps: { of: pages } });
}

const told = (found: ReturnType<typeof useLimitsOf>, ...ids: string[]) => ids.map((id) => found.get(id)?.map((each) => each.id));

it("limits of keys are known when they are read, and stay so while those of more keys are", async () => {
  const asked = served();
  const first = keys("key_b", "key_d");
  const { result, rerender } = shown([first]);
  expect(told(result.current, "key_b", "key_d")).toEqual([undefined, undefined]);
  await waitFor(() => expect(asked).toHaveLength(1));
  act(() => asked[0]?.answer(answer(limit("each", "*"), limit("of b", "key_b"))));
  await waitFor(() => expect(told(result.current, "key_b", "key_d")).toEqual([["each", "of b"], ["each"]]));
  // Of the next page some stand between those of the first, by their ids.
  rerender({ of: [first, keys("key_a", "key_c")] });
  expect(told(result.current, "key_b", "key_d", "key_a", "key_c")).toEqual([["each", "of b"], ["each"], undefined, undefined]);
  await waitFor(() => expect(asked).toHaveLength(2));
  expect(asked.map(({ names }) => names)).toEqual([["*", "key_b", "key_d"], ["*", "key_a", "key_c"]]);
  act(() => asked[1]?.answer(answer(limit("each", "*"))));
  await waitFor(() => expect(told(result.current, "key_b", "key_a")).toEqual([["each", "of b"], ["each"]]));
});

it("limits of keys that the server did not tell are not known, which is not none", async () => {
  const asked = served();
  const { result } = shown([keys("key_a"), keys("key_b")]);
  await waitFor(() => expect(asked).toHaveLength(2));
  act(() => {
    asked[0]?.answer(new Response("{}", { status: 500, headers: { "content-type": "application/json" } }));
    asked[1]?.answer(answer());
  });
  await waitFor(() => expect(told(result.current, "key_b")).toEqual([[]]));
  expect(told(result.current, "key_a")).toEqual([undefined]);
});
