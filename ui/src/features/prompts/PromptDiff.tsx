import { IconCheck } from "@tabler/icons-react";
import { Fragment, useMemo, useState, type ReactNode } from "react";
import type { Floor, PromptDiff as Diff } from "@/api/prompts";
import { Chip, type Tone } from "@/kit/Chips";
import { plural } from "@/kit/format";
import { Scroll } from "@/kit/Page";
import css from "./diff.module.css";
import { diffLines, type DiffLine } from "./words";

type MessageChange = Diff["messages"][number];
export type Side = "old" | "new";

/** A line as a place to speak about: the message on that side and the line in it, both from 1. */
export interface LinePlace {
  side: Side;
  message: number;
  line: number;
}

export interface LineExtras {
  /** What stands at the line's right end, such as a button to comment. */
  action?: (place: LinePlace) => ReactNode;
  /** What stands below the line, such as a thread. */
  below?: (place: LinePlace) => ReactNode;
}

const TONES: Record<string, Tone> = { added: "good", removed: "bad", changed: "accent", same: "neutral" };

/** Two prompts told apart: message by message with their words, then variables, tools, schema and parameters. */
export function PromptDiff({ diff, extras }: { diff: Diff; extras?: LineExtras }) {
  if (diff.same)
    return (
      <p className={css.same}>
        <IconCheck size={15} /> They say the same.
      </p>
    );
  return (
    <div className={css.diff}>
      {diff.messages.map((message, n) => (
        <Message key={n} message={message} {...(extras ? { extras } : {})} />
      ))}
      {diff.fields.length > 0 && <Fields fields={diff.fields} />}
    </div>
  );
}

function titleOf(message: MessageChange): string {
  const place = (message.new ?? message.old ?? 0) + 1;
  return `${message.role}, message ${place}`;
}

function Message({ message, extras }: { message: MessageChange; extras?: LineExtras }) {
  const lines = useMemo(() => diffLines(message.lines), [message.lines]);
  const same = message.change === "same";
  const [open, setOpen] = useState(!same || extras !== undefined);
  return (
    <section className={css.message} aria-label={`${titleOf(message)}: ${message.change}`}>
      <header className={css.head}>
        <span className={css.role}>{message.role}</span>
        <Chip tone={TONES[message.change] ?? "neutral"}>{same ? "unchanged" : message.change}</Chip>
        {same && (
          <button type="button" className={css.toggle} aria-expanded={open} onClick={() => setOpen(!open)}>
            {open ? "Hide" : `Show ${plural(lines.length, "line")}`}
          </button>
        )}
      </header>
      {open && <Lines lines={lines} old={message.old} now={message.new} label={titleOf(message)} {...(extras ? { extras } : {})} />}
    </section>
  );
}

function Lines({ lines, old, now, label, extras }: { lines: DiffLine[]; old: number | null; now: number | null; label: string; extras?: LineExtras }) {
  return (
    <Scroll label={`Lines of ${label}`} className={css.lines}>
      {lines.map((line, n) => {
        const place = placeOf(line, old, now);
        return (
          <Fragment key={n}>
            <div className={css.line} data-mark={line.mark}>
              <span className={css.number}>{line.old ?? ""}</span>
              <span className={css.number}>{line.new ?? ""}</span>
              <span className={css.mark}>
                <span className="unseen">{line.mark === "+" ? "added: " : line.mark === "-" ? "removed: " : ""}</span>
                <span aria-hidden="true">{line.mark === "-" ? "−" : line.mark}</span>
              </span>
              <span className={css.text}>
                {line.pieces.map((piece, i) => (piece.changed ? line.mark === "-" ? <del key={i}>{piece.text}</del> : <ins key={i}>{piece.text}</ins> : <span key={i}>{piece.text}</span>))}
              </span>
              {place && extras?.action?.(place)}
            </div>
            {place && extras?.below?.(place)}
          </Fragment>
        );
      })}
    </Scroll>
  );
}

/** A line that both sides have is spoken about as the new one. */
function placeOf(line: DiffLine, old: number | null, now: number | null): LinePlace | null {
  if (line.new !== null && now !== null) return { side: "new", message: now + 1, line: line.new };
  if (line.old !== null && old !== null) return { side: "old", message: old + 1, line: line.old };
  return null;
}

function Fields({ fields }: { fields: Diff["fields"] }) {
  return (
    <Scroll label="Variables, tools, schema and parameters" className={css.fields}>
      <table className={css.table}>
        <thead>
          <tr>
            <th scope="col">Besides the messages</th>
            <th scope="col">Change</th>
            <th scope="col">Before</th>
            <th scope="col">After</th>
          </tr>
        </thead>
        <tbody>
          {fields.map((field) => (
            <tr key={field.path}>
              <th scope="row" className="mono">
                {field.path}
              </th>
              <td>
                <Chip tone={TONES[field.change] ?? "neutral"}>{field.change}</Chip>
              </td>
              <td className={css.value}>{field.change === "added" ? "" : shown(field.old)}</td>
              <td className={css.value}>{field.change === "removed" ? "" : shown(field.new)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

/** A value as front matter would say it; a variable says its type and default, and not its name again. */
export function shown(value: unknown): string {
  if (typeof value === "string") return value;
  if (typeof value === "object" && value !== null && "name" in value && "type" in value) {
    const { type, description, ...rest } = value as Record<string, unknown>;
    const standard = "default" in rest ? `default ${JSON.stringify(rest.default)}` : "required";
    return [String(type), standard, typeof description === "string" ? description : ""].filter(Boolean).join(", ");
  }
  return JSON.stringify(value);
}

const LEVELS: Record<string, Tone> = { major: "bad", minor: "warn", patch: "good" };

/** What a change asks of the version number, and why. */
export function FloorNote({ floor, least }: { floor: Floor | null; least?: string }) {
  if (floor === null) return <p className={css.floor}>The first version{least ? `: ${least}` : ""}.</p>;
  const causes = floor.changes.filter((change) => change.level === floor.level);
  return (
    <div className={css.floor}>
      <p>
        <Chip tone={LEVELS[floor.level] ?? "neutral"}>{floor.level}</Chip>{" "}
        {least !== undefined && (
          <>
            The next version is <strong>{least}</strong>.{" "}
          </>
        )}
        This is a {floor.level} change{causes.length === 0 ? ": only the text differs, and callers need to do nothing." : " because:"}
      </p>
      {causes.length > 0 && (
        <ul>
          {causes.map((change) => (
            <li key={change.what}>{change.what}</li>
          ))}
        </ul>
      )}
    </div>
  );
}
