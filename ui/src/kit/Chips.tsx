import { Tooltip } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import type { Health } from "@/api/status";
import type { CodeMatch, Status } from "@/api/traces";
import { shortDigest } from "./format";
import css from "./kit.module.css";
import { PartGlyph } from "./Mark";

export type Tone = "neutral" | "accent" | "good" | "warn" | "bad";

export function Chip({ tone = "neutral", children, tip }: { tone?: Tone; children: ReactNode; tip?: string }) {
  const chip = (
    <span className={css.chip} data-tone={tone}>
      {children}
    </span>
  );
  return tip ? <Tooltip label={tip}>{chip}</Tooltip> : chip;
}

export function StatusChip({ status }: { status: Status }) {
  return status === "error" ? <Chip tone="bad">error</Chip> : <Chip>{status === "ok" ? "ok" : "unset"}</Chip>;
}

export function Dot({ tone }: { tone: Tone }) {
  return <span className={css.dot} data-tone={tone} aria-hidden="true" />;
}

const HEALTH: Record<Health, Tone> = { good: "good", waiting: "warn", bad: "bad" };

/** A state in its own word, with the tone of what it means. */
export function HealthLabel({ health, state }: { health: Health; state: string }) {
  return (
    <span style={{ display: "inline-flex", alignItems: "center", gap: 7 }}>
      <Dot tone={HEALTH[health]} />
      {state}
    </span>
  );
}

const MATCHES: Record<Exclude<CodeMatch, "">, { tone: Tone; label: string; tip: string }> = {
  match: { tone: "good", label: "code matches", tip: "The caller announced the code that this release pins" },
  mismatch: { tone: "warn", label: "code differs", tip: "The caller announced other code than this release pins" },
  unannounced: { tone: "neutral", label: "code unannounced", tip: "The caller did not say which code it runs (header x-tetrad-code)" },
};

export function CodeMatchChip({ match }: { match: CodeMatch }) {
  if (match === "") return null;
  const { tone, label, tip } = MATCHES[match];
  return (
    <Chip tone={tone} tip={tip}>
      <PartGlyph part="code" size={11} />
      {label}
    </Chip>
  );
}

/** A release by the head of its digest; leads to the page of its app where that is known. */
export function ReleaseChip({ project, app, digest }: { project: string; app: string; digest: string }) {
  if (digest === "") return null;
  const text = <span className="mono">{shortDigest(digest)}</span>;
  if (app === "") return <Chip tip={digest}>{text}</Chip>;
  return (
    <Link className={css.chip} to="/p/$project/apps/$app" params={{ project, app }} search={{ release: digest }} title={digest} onClick={(event) => event.stopPropagation()}>
      {text}
    </Link>
  );
}
