export type PartName = "code" | "data" | "model" | "prompt";

const QUARTERS: Record<PartName, string> = {
  code: "M15 15H7a5 5 0 0 1-5-5V7a5 5 0 0 1 5-5h3a5 5 0 0 1 5 5z",
  data: "M17 15V7a5 5 0 0 1 5-5h3a5 5 0 0 1 5 5v3a5 5 0 0 1-5 5z",
  model: "M15 17v8a5 5 0 0 1-5 5H7a5 5 0 0 1-5-5v-3a5 5 0 0 1 5-5z",
  prompt: "M17 23.5a6.5 6.5 0 1 1 13 0a6.5 6.5 0 1 1-13 0",
};

/** The mark: four parts that make one release. */
export function Mark({ size = 20 }: { size?: number }) {
  return (
    <svg viewBox="0 0 32 32" width={size} height={size} aria-hidden="true" focusable="false">
      {(Object.keys(QUARTERS) as PartName[]).map((part) => (
        <path key={part} d={QUARTERS[part]} fill={part === "prompt" ? "var(--t-accent)" : "var(--t-ink)"} />
      ))}
    </svg>
  );
}

/** The mark with one of its parts lit: the same place means the same part everywhere. */
export function PartGlyph({ part, size = 16 }: { part: PartName; size?: number }) {
  return (
    <svg viewBox="0 0 32 32" width={size} height={size} aria-hidden="true" focusable="false">
      {(Object.keys(QUARTERS) as PartName[]).map((name) => (
        <path key={name} d={QUARTERS[name]} fill={name === part ? "var(--t-accent)" : "var(--t-bar-2)"} />
      ))}
    </svg>
  );
}
