import { Button, Modal } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { IconPencil } from "@tabler/icons-react";
import { lazy, Suspense, useMemo, useState } from "react";
import { pushChange, type Change, type PromptPartDiff, type ReleaseDiff, type Thread } from "@/api/changes";
import { asProblem } from "@/api/problem";
import { promptQuery } from "@/api/prompts";
import { placeOf, readFile } from "@/features/prompts/file";
import { MessagesForm } from "@/features/prompts/MessagesForm";
import type { LineExtras, LinePlace } from "@/features/prompts/PromptDiff";
import { PromptPart } from "@/features/releases/PromptPart";
import { ReleaseDiffView } from "@/features/releases/ReleaseDiffView";
import { Failure } from "@/kit/Failure";
import { Panel } from "@/kit/Page";
import { Loading } from "@/kit/States";
import css from "./changes.module.css";
import { anchorAt, partOf, placeThreads } from "./threads";
import { CommentButton, Composer, ThreadView, type Where } from "./Threads";

const FileEditor = lazy(() => import("@/features/prompts/FileEditor"));

/** What a change request changes, part by part; lines of prompts can be spoken about where they stand. */
export function Differences({ where, change, diff, threads, changed }: { where: Where; change: Change; diff: ReleaseDiff; threads: readonly Thread[]; changed: (change: Change) => void }) {
  if (diff.same)
    return (
      <Panel label="Changes">
        <p className="dim">The candidate says the same as its base.</p>
      </Panel>
    );
  return <ReleaseDiffView project={where.project} diff={diff} measured prompt={(part, key) => <ReviewedPrompt key={key} where={where} change={change} part={part} threads={threads} changed={changed} />} />;
}

function ReviewedPrompt({ where, change, part, threads, changed }: { where: Where; change: Change; part: PromptPartDiff; threads: readonly Thread[]; changed: (change: Change) => void }) {
  const [writing, setWriting] = useState<LinePlace | null>(null);
  const [editing, setEditing] = useState(false);
  const placed = useMemo(() => placeThreads(threads, part), [threads, part]);
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
  return (
    <PromptPart
      project={where.project}
      part={part}
      extras={extras}
      side={
        mayEdit && (
          <Button variant="default" size="compact-xs" leftSection={<IconPencil size={13} />} onClick={() => setEditing(true)}>
            Edit
          </Button>
        )
      }
    >
      {placed.outdated.length > 0 && (
        <div className={css.outdated}>
          {placed.outdated.map((thread) => (
            <ThreadView key={thread.id} where={where} thread={thread} />
          ))}
        </div>
      )}
      {editing && part.new !== null && <EditModal where={where} change={change} part={part} close={() => setEditing(false)} done={changed} />}
    </PromptPart>
  );
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
