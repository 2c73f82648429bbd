import type { JSX } from "react";

type PageComponent = () => JSX.Element | null;
const all: (() => Promise<unknown>)[] = [];

/**
 * A page in a file of its own, as the `component` and `loader` of a route. A file that does not come is an error of the
 * route, which says so and tries again; the page in front of the person stays, and is never reloaded away.
 */
export function lazyPage(load: () => Promise<PageComponent>): { component: PageComponent; loader: () => Promise<void> } {
  let Loaded: PageComponent | null = null;
  const loader = async (): Promise<void> => {
    Loaded ??= await load();
  };
  all.push(loader);
  return { loader, component: () => (Loaded === null ? null : <Loaded />) };
}

/** Brings the other pages while nothing else is to do, so that they open at once, and also while control is away. */
export function preloadPages(): void {
  const soon = "requestIdleCallback" in window ? (run: () => void) => requestIdleCallback(run) : (run: () => void) => setTimeout(run, 1_000);
  const start = (): void => {
    // A file that does not come now is asked for again when its page is opened, and its fault is told then.
    soon(() => void Promise.allSettled(all.map((load) => load())));
  };
  if (document.readyState === "complete") start();
  else window.addEventListener("load", start, { once: true });
}
