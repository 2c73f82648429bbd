import { render, screen } from "@testing-library/react";
import type { JSX } from "react";
import { expect, it, vi } from "vitest";
import { lazyPage } from "./lazyPage";

it("a page whose file did not come is asked for again", async () => {
  const load = vi.fn<() => Promise<() => JSX.Element>>().mockRejectedValueOnce(new Error("away")).mockResolvedValue(() => <h1>here</h1>);
  const { component: Page, loader } = lazyPage(load);
  await expect(loader()).rejects.toThrow("away");
  await loader();
  await loader();
  expect(load).toHaveBeenCalledTimes(2);
  render(<Page />);
  expect(screen.getByRole("heading", { name: "here" })).toBeTruthy();
});
