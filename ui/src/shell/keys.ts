import { useEffect, useRef } from "react";

/** Whether the person is writing, so that letters are text and not shortcuts. */
export function isWriting(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  return target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName) || target.closest("[role=dialog]") !== null;
}

/** `g` and then a letter within a second goes to a page. */
export function useGoKeys(targets: Record<string, () => void>): void {
  const latest = useRef(targets);
  useEffect(() => {
    latest.current = targets;
  });
  useEffect(() => {
    let armed = 0;
    const onKey = (event: KeyboardEvent): void => {
      if (event.metaKey || event.ctrlKey || event.altKey || isWriting(event.target)) return;
      if (event.key === "g") {
        armed = event.timeStamp;
        return;
      }
      const target = latest.current[event.key];
      if (target && event.timeStamp - armed < 1000) {
        event.preventDefault();
        target();
      }
      armed = 0;
    };
    // Before the pages' own shortcuts: `g k` is a place, not a step up in a list.
    window.addEventListener("keydown", onKey, { capture: true });
    return () => window.removeEventListener("keydown", onKey, { capture: true });
  }, []);
}

export const SHORTCUTS: { group: string; keys: [string, string][] }[] = [
  { group: "Anywhere", keys: [["mod K", "Search and commands"], ["?", "This help"], ["g o", "Overview"], ["g a", "Apps"], ["g p", "Prompts"], ["g d", "Datasets"], ["g m", "Models"], ["g r", "Releases"], ["g c", "Change requests"], ["g t", "Traces"], ["g u", "Audit"], ["g y", "Playground"], ["g w", "Gateway"], ["g k", "API keys"], ["g b", "Bindings"], ["g s", "System"]] },
  { group: "Prompts", keys: [["/", "Search"]] },
  { group: "Traces", keys: [["/", "Filter"], ["j  k", "Next and previous trace"], ["Enter", "Open the trace"], ["l", "Follow live"]] },
  { group: "Trace", keys: [["j  k", "Next and previous span"], ["←  →", "Fold and unfold"], ["Esc", "Back to the list"]] },
];
