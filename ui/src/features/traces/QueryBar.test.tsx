import { MantineProvider } from "@mantine/core";
import { render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { createRef } from "react";
import { describe, expect, it, vi } from "vitest";
import type { Filters } from "./query";
import { QueryBar } from "./QueryBar";

function show(filters: Filters) {
  const onChange = vi.fn<(filters: Filters) => void>();
  const bar = (shown: Filters) => (
    <MantineProvider env="test">
      <QueryBar filters={shown} onChange={onChange} ref={createRef()} />
    </MantineProvider>
  );
  const { rerender } = render(bar(filters));
  return { onChange, input: screen.getByRole<HTMLInputElement>("textbox", { name: "Filter traces" }), follow: (next: Filters) => rerender(bar(next)) };
}

describe("the query bar", () => {
  it("applies what was written on Enter, and not before", async () => {
    const { onChange, input } = show({});
    await userEvent.type(input, "status:error");
    expect(onChange).not.toHaveBeenCalled();
    await userEvent.type(input, "{Enter}");
    expect(onChange).toHaveBeenCalledWith({ status: "error" });
  });
  it("says what it cannot understand, and applies nothing", async () => {
    const { onChange, input } = show({});
    await userEvent.type(input, "app:a colour:red{Enter}");
    expect(screen.getByText(/no filter colour:/)).toBeTruthy();
    expect(onChange).not.toHaveBeenCalled();
  });
  it("goes back to what is applied on Escape", async () => {
    const { input } = show({ app: "a" });
    await userEvent.type(input, " half written{Escape}");
    expect(input.value).toBe("app:a");
  });
  it("follows the URL", () => {
    const { input, follow } = show({ app: "a" });
    follow({ session: "s" });
    expect(input.value).toBe("session:s");
  });
  it("removes one filter by its chip, and all at once", async () => {
    const { onChange } = show({ app: "a", status: "error" });
    await userEvent.click(screen.getByRole("button", { name: "Remove filter app: a" }));
    expect(onChange).toHaveBeenLastCalledWith({ status: "error" });
    await userEvent.click(screen.getByRole("button", { name: "Clear all" }));
    expect(onChange).toHaveBeenLastCalledWith({});
  });
});
