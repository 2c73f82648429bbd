import { Button, Modal } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { IconPencil } from "@tabler/icons-react";
import { lazy, Suspense, useMemo, useState } from "react";
import { pushChange, type Change, type PromptPartDiff, type ReleaseDiff, type Thread } from "@/api/changes";
import { asProblem } from "@/api/problem";
import { promptDiffQuery, promptQuery, type Prompt, type PromptDiff as Diff } from "@/api/prompts";
import { placeOf, readFile } from "@/features/prompts/file";
import { MessagesForm } from "@/features/prompts/MessagesForm";
import { PromptDiff, shown, type LineExtras, type LinePlace } from "@/features/prompts/PromptDiff";
import { Chip, type Tone } from "@/kit/Chips";
import { Failure } from "@/kit/Failure";
import { count, plural } from "@/kit/format";
import kit from "@/kit/kit.module.css";
import { PartGlyph } from "@/kit/Mark";
import { Panel, Scroll } from "@/kit/Page";
import { ErrorState, Loading } from "@/kit/States";
import css from "./changes.module.css";
import { anchorAt, partOf, placeThreads } from "./threads";
import { CommentButton, Composer, ThreadView, type Where } from "./Threads";

const FileEditor = lazy(() => import("@/features/prompts/FileEditor"));
const FLOORS: Record<string, Tone> = { major: "bad", minor: "warn", patch: "good" };

/** What a change request changes, part by part; lines of prompts can be spoken about where they stand. */
export function Differences({ where, change, diff, threads, changed }: { where: Where; change: Change; diff: ReleaseDiff; threads: readonly Thread[]; changed: (change: Change) => void }) {
  return (
    <>
      {diff.same && (
        <Panel label="Changes">
          <p className="dim">The candidate says the same as its base.</p>
        </Panel>
      )}
      {diff.prompt.map((part) => (
        <PromptPart key={`${part.role} ${part.new?.name ?? part.old?.name ?? ""}`} where={where} change={change} part={part} threads={threads} changed={changed} />
      ))}
      {diff.model.map((part) => (
        <Panel key={`model ${part.role}`} label={`Model ${part.role}`} title={<PartTitle part="model" text={`Model, ${part.role}`} />} note={names(part)}>
          <Values values={part.facts} />
        </Panel>
      ))}
      {diff.data.map((part) => (
        <Panel key={`data ${part.role} ${part.new?.name ?? part.old?.name ?? ""}`} label={`Data ${part.role}`} title={<PartTitle part="data" text={`Data, ${part.role}`} />} note={names(part)}>
          <p className={css.line}>
            {part.compared ? `${count(part.added)} added, ${count(part.removed)} removed, ${count(part.changed)} changed, ${count(part.moved)} moved` : "Too many rows to compare here"}; {plural(part.new_rows, "row")} now, {count(part.old_rows)} before
          </p>
          {part.rows.length > 0 && (
            <Scroll label="Rows that differ">
              <table className={kit.table}>
                <thead>
                  <tr>
                    <th scope="col">Row</th>
                    <th scope="col">Change</th>
                    <th scope="col">What</th>
                  </tr>
                </thead>
                <tbody>
                  {part.rows.map((row) => (
                    <tr key={row.key}>
                      <td className="mono">{row.key}</td>
                      <td>{row.change}</td>
                      <td className={css.value}>{row.fields.length > 0 ? row.fields.map((f) => `${f.path}: ${shown(f.old ?? "")} → ${shown(f.new ?? "")}`).join("\n") : shown(row.content ?? "")}</td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </Scroll>
          )}
        </Panel>
      ))}
      {diff.code && (
        <Panel label="Code" title={<PartTitle part="code" text="Code" />} note={`${count(diff.code.added)} files added, ${count(diff.code.removed)} removed, ${count(diff.code.changed)} changed`}>
          <ul className={css.files}>
            {diff.code.files.map((file) => (
              <li key={file.path}>
                <span className="dim">{file.change}</span> <span className="mono">{file.path}</span>
              </li>
            ))}
          </ul>
        </Panel>
      )}
      {diff.sampling.length + diff.config.length > 0 && (
        <Panel label="Parameters" title="Parameters">
          <Values values={[...diff.sampling, ...diff.config]} />
        </Panel>
      )}
    </>
  );
}

interface Sided {
  old: { name: string; version: string } | null;
  new: { name: string; version: string } | null;
}

function names(part: Sided): string {
  const one = (side: Sided["old"]): string => (side === null ? "none" : `${side.name} ${side.version}`.trim());
  return `${one(part.old)} → ${one(part.new)}`;
}

function PartTitle({ part, text }: { part: "prompt" | "model" | "data" | "code"; text: string }) {
  return (
    <span className={css.partTitle}>
      <PartGlyph part={part} size={17} />
      {text}
    </span>
  );
}

export function Values({ values }: { values: readonly { path: string; change: string; old?: unknown; new?: unknown }[] }) {
  if (values.length === 0) return null;
  return (
    <Scroll label="Values that differ">
      <table className={kit.table}>
        <thead>
          <tr>
            <th scope="col">What</th>
            <th scope="col">Before</th>
            <th scope="col">After</th>
          </tr>
        </thead>
        <tbody>
          {values.map((value) => (
            <tr key={value.path}>
              <td className="mono">{value.path}</td>
              <td className={css.value}>{value.change === "added" ? "" : shown(value.old ?? null)}</td>
              <td className={css.value}>{value.change === "removed" ? "" : shown(value.new ?? null)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

function PromptPart({ where, change, part, threads, changed }: { where: Where; change: Change; part: PromptPartDiff; threads: readonly Thread[]; changed: (change: Change) => void }) {
  const [writing, setWriting] = useState<LinePlace | null>(null);
  const [editing, setEditing] = useState(false);
  const placed = useMemo(() => placeThreads(threads, part), [threads, part]);
  const whole = useWhole(where.project, part);
  const patch = change.patch.find((each) => each.part === partOf(part));
  const mayEdit = change.allowed.includes("push") && part.new !== null && patch !== undefined;
  const extras: LineExtras = {
    action: (place) => (where.open ? <CommentButton line={place.line} onClick={() => setWriting(place)} /> : null),
    below: (place) => {
      const here = placed.at(place);
      const write = writing?.side === place.side && writing.message === place.message && writing.line === place.line;
      if (here.length === 0 && !write) return null;
      return (
        <div className={css.inline}>
          {here.map((thread) => (
            <ThreadView key={thread.id} where={where} thread={thread} />
          ))}
          {write && <Composer where={where} anchor={anchorAt(part, place) ?? undefined} label={`Comment on line ${place.line}`} close={() => setWriting(null)} />}
        </div>
      );
    },
  };
  const title = `Prompt, ${part.role}`;
  return (
    <Panel
      label={title}
      title={<PartTitle part="prompt" text={title} />}
      note={names(part)}
      side={
        <span className={css.partSide}>
          {part.floor !== "none" && <Chip tone={FLOORS[part.floor] ?? "neutral"}>{part.floor} change</Chip>}
          {mayEdit && (
            <Button variant="default" size="compact-xs" leftSection={<IconPencil size={13} />} onClick={() => setEditing(true)}>
              Edit
            </Button>
          )}
        </span>
      }
    >
      {whole.diff ? <PromptDiff diff={whole.diff} extras={extras} /> : whole.error ? <ErrorState error={whole.error} /> : <Loading />}
      {placed.outdated.length > 0 && (
        <div className={css.outdated}>
          {placed.outdated.map((thread) => (
            <ThreadView key={thread.id} where={where} thread={thread} />
          ))}
        </div>
      )}
      {editing && part.new !== null && <EditModal where={where} change={change} part={part} close={() => setEditing(false)} done={changed} />}
    </Panel>
  );
}

/** The whole prompts side by side: a difference of the release has only what changed, and people need the lines between. */
function useWhole(project: string, part: PromptPartDiff): { diff: Diff | null; error: unknown } {
  const paired = part.old !== null && part.new !== null && part.old.name === part.new.name && part.old.version !== "" && part.new.version !== "";
  const both = useQuery({ ...promptDiffQuery(project, part.new?.name ?? "", part.old?.version ?? "", part.new?.version ?? ""), enabled: paired });
  const only = part.new ?? part.old;
  const one = useQuery({ ...promptQuery(project, only?.name ?? "", { digest: only?.digest }), enabled: !paired && only !== null && (part.old === null || part.new === null) });
  if (paired) return { diff: both.data ?? null, error: both.error };
  if (part.old === null || part.new === null) return { diff: one.data ? allOf(one.data, part.new === null ? "removed" : "added") : null, error: one.error };
  return { diff: onlyChanges(part), error: null };
}

function allOf(prompt: Prompt, change: "added" | "removed"): Diff {
  const mark = change === "added" ? "+" : "-";
  return {
    same: false,
    floor: { level: "major", changes: [] },
    messages: prompt.messages.map((message, n) => ({ change, role: message.role, old: change === "removed" ? n : null, new: change === "added" ? n : null, lines: message.content.split("\n").map((text) => ({ mark, text })) })),
    fields: [],
  };
}

function onlyChanges(part: PromptPartDiff): Diff {
  return {
    same: false,
    floor: { level: part.floor, changes: [] },
    messages: part.messages.map((message) => ({
      change: message.change,
      role: message.role,
      old: message.old_place > 0 ? message.old_place - 1 : null,
      new: message.new_place > 0 ? message.new_place - 1 : null,
      lines: message.hunks.flatMap((hunk) => [...hunk.old.map((text) => ({ mark: "-", text })), ...hunk.new.map((text) => ({ mark: "+", text }))]),
    })),
    fields: [...part.variables, ...part.params, ...part.other].map((value) => ({ path: value.path, change: value.change, old: value.old, new: value.new })),
  };
}

/** Edits the proposed prompt in place: what is pushed is reviewed anew. */
function EditModal({ where, change, part, close, done }: { where: Where; change: Change; part: PromptPartDiff; close: () => void; done: (change: Change) => void }) {
  const prompt = useQuery(promptQuery(where.project, part.new?.name ?? "", { digest: part.new?.digest }));
  const [edited, setEdited] = useState<string | null>(null);
  const text = edited ?? prompt.data?.text ?? "";
  const file = useMemo(() => readFile(text), [text]);
  const push = useMutation({
    mutationFn: () =>
      pushChange(where.project, where.number, {
        expected_revision: change.revision,
        note: "",
        parts: change.patch.map((each) => (each.part === partOf(part) ? { part: each.part, content: text, name: part.new?.name ?? "", remove: false } : { part: each.part, remove: each.remove, name: each.name, ...(each.content === null || each.content === undefined ? { value: each.value } : { content: each.content }) })),
      }),
    onSuccess: (pushed) => {
      done(pushed);
      close();
    },
  });
  const problem = push.error === null ? null : placeOf(asProblem(push.error).message);
  return (
    <Modal opened onClose={close} title={`Edit ${part.new?.name ?? ""}`} size="xl">
      <div className={css.modal}>
        <Failure error={push.error ?? prompt.error} />
        {prompt.data === undefined ? prompt.isError ? null : <Loading /> : file !== null ? <MessagesForm file={file} onChange={setEdited} problem={problem} /> : (
          <Suspense fallback={<Loading />}>
            <FileEditor value={text} onChange={setEdited} problem={problem} label="Prompt file" />
          </Suspense>
        )}
        <p className="dim">Approvals of this part are asked for again once it is pushed.</p>
        <div className={css.buttons}>
          <Button variant="default" onClick={close}>
            Cancel
          </Button>
          <Button loading={push.isPending} disabled={edited === null || edited === prompt.data?.text} onClick={() => push.mutate()}>
            Push the edit
          </Button>
        </div>
      </div>
    </Modal>
  );
}
