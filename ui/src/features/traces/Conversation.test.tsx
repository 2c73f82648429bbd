import { MantineProvider } from "@mantine/core";
import { render, screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { describe, expect, it } from "vitest";
import type { Span } from "@/api/traces";
import { Conversation } from "./Conversation";

function show(input: unknown, output: unknown, status: Span["status"] = "ok") {
  render(
    <MantineProvider env="test">
      <Conversation span={{ span_id: "s", status, input, output } as Span} />
    </MantineProvider>,
  );
}
const ask = (content: string) => [{ role: "user", content }];

describe("a conversation", () => {
  it("shows who said what", () => {
    show(ask("hello"), [{ role: "assistant", content: "hi **there**" }]);
    expect(within(screen.getByRole("region", { name: "Input" })).getByText("hello")).toBeTruthy();
    expect(within(screen.getByRole("region", { name: "Output" })).getByText("there").tagName).toBe("STRONG");
  });
  it("is text, whatever markup a model writes", () => {
    show(ask("x"), [{ role: "assistant", content: "<img src=x onerror=alert(1)>" }]);
    expect(screen.getByText("<img src=x onerror=alert(1)>")).toBeTruthy();
    expect(document.querySelector("img")).toBeNull();
  });
  it("opens a very long text on demand", async () => {
    show(ask("a".repeat(50_000)), null);
    expect(document.body.textContent.length).toBeLessThan(20_000);
    await userEvent.click(screen.getByRole("button", { name: "Show all 50,000 characters" }));
    expect(document.body.textContent.length).toBeGreaterThan(50_000);
  });
  it("keeps the middle of a very long conversation closed, and both its ends in sight", async () => {
    show(Array.from({ length: 500 }, (_, i) => ({ role: "user", content: `turn ${i}.` })), null);
    expect(screen.getByText("turn 0.")).toBeTruthy();
    expect(screen.getByText("turn 499.")).toBeTruthy();
    expect(screen.queryByText("turn 100.")).toBeNull();
    await userEvent.click(screen.getByRole("button", { name: "Show 440 more messages in between" }));
    expect(screen.getByText("turn 100.")).toBeTruthy();
    expect(screen.getAllByRole("listitem")).toHaveLength(500);
  });
  it("says why there is no content", () => {
    show(null, null, "error");
    expect(screen.getByText(/the call failed before there was any/)).toBeTruthy();
  });
});
