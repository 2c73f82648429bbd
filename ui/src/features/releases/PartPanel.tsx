import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { ChangeTag } from "@/kit/Diff";
import { PartGlyph, type PartName } from "@/kit/Mark";
import { Panel } from "@/kit/Page";
import css from "./releases.module.css";

interface Named {
  name: string;
  version: string;
  digest: string;
}

/** The same part of two releases; null where one of them has none. */
export interface Sided {
  old: Named | null;
  new: Named | null;
}

const TITLES: Record<PartName, string> = { prompt: "Prompt", model: "Model", data: "Data", code: "Code" };

/** A part that differs: its glyph, what it is for, and from what to what it went. */
export function PartPanel({ project, part, role, change, diff, note, side, children }: { project: string; part: "prompt" | "model" | "data"; role: string; change: string; diff: Sided; note?: ReactNode; side?: ReactNode; children?: ReactNode }) {
  const title = `${TITLES[part]}, ${role}`;
  return (
    <Panel
      label={title}
      title={
        <span className={css.partTitle}>
          <PartGlyph part={part} size={16} />
          {title}
        </span>
      }
      note={
        <span className={css.partNote}>
          {change !== "changed" && <ChangeTag change={change} />}
          {diff.old && <PartName project={project} part={part} side={diff.old} />}
          {diff.old && diff.new && <span aria-label="to">→</span>}
          {diff.new && <PartName project={project} part={part} side={diff.new} />}
          {note}
        </span>
      }
      side={side}
    >
      {children}
    </Panel>
  );
}

/** A part by name and version; leads to its page, at that version. */
export function PartName({ project, part, side }: { project: string; part: "prompt" | "model" | "data"; side: Named }) {
  const text = `${side.name}${side.version === "" ? "" : `@${side.version}`}`;
  if (side.name === "") return null;
  if (side.version === "") return <span title={side.digest}>{text}</span>;
  const look = { className: "link", title: side.digest };
  if (part === "prompt")
    return (
      <Link to="/p/$project/prompts/$prompt" params={{ project, prompt: side.name }} search={{ version: side.version }} {...look}>
        {text}
      </Link>
    );
  if (part === "data")
    return (
      <Link to="/p/$project/datasets/$dataset" params={{ project, dataset: side.name }} search={{ version: side.version }} {...look}>
        {text}
      </Link>
    );
  return (
    <Link to="/p/$project/models/-/$" params={{ project, _splat: side.name }} search={{ version: side.version }} {...look}>
      {text}
    </Link>
  );
}
