import { MantineProvider } from "@mantine/core";
import { render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, it, vi } from "vitest";
import { ApiProblem } from "@/api/problem";
import { ErrorState } from "./States";

it("an error state says what happened, what to do next, and tries again", async () => {
  const retry = vi.fn();
  render(
    <MantineProvider env="test">
      <ErrorState error={new ApiProblem(404, "not_found", "No trace 'x'.", "It may be too old.", "req-1")} retry={retry} />
    </MantineProvider>,
  );
  const alert = screen.getByRole("alert");
  for (const words of ["No trace 'x'.", "It may be too old.", "req-1"]) expect(alert.textContent).toContain(words);
  await userEvent.click(screen.getByRole("button", { name: "Try again" }));
  expect(retry).toHaveBeenCalledOnce();
});
