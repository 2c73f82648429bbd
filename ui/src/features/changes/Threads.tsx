import { ActionIcon, Button, Textarea, Tooltip } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { IconMessagePlus } from "@tabler/icons-react";
import { useRef, useState } from "react";
import { commentOnChange, resolveThread, type Anchor, type Thread } from "@/api/changes";
import { Chip } from "@/kit/Chips";
import { Failure } from "@/kit/Failure";
import { Ago } from "@/kit/time";
import css from "./changes.module.css";

export interface Where {
  project: string;
  number: number;
  /** Whether this person may comment now. */
  open: boolean;
}

function useRefresh(where: Where): () => void {
  const queries = useQueryClient();
  return () => {
    for (const key of ["change-threads", "change", "change-events"]) void queries.invalidateQueries({ queryKey: [key, where.project, where.number] });
  };
}

/** One conversation: what was said, by whom, and whether it is settled. */
export function ThreadView({ where, thread }: { where: Where; thread: Thread }) {
  const [answering, setAnswering] = useState(false);
  const [open, setOpen] = useState(!thread.resolved);
  const refresh = useRefresh(where);
  const resolve = useMutation({
    mutationFn: () => resolveThread(where.project, where.number, thread.id, !thread.resolved),
    onSuccess: (settled) => {
      setOpen(!settled.resolved);
      refresh();
    },
  });
  const first = thread.comments[0];
  const { anchor } = thread;
  return (
    <section className={css.thread} aria-label={`Thread of ${first?.by ?? "somebody"}`} data-resolved={thread.resolved}>
      {anchor?.place === "outdated" && (
        <p className={css.quote}>
          <Chip tone="warn">the line has changed since</Chip> {anchor.quote !== "" && <q>{anchor.quote}</q>}
        </p>
      )}
      {anchor?.kind === "row" && (
        <p className={css.quote}>
          <Chip>{anchor.part}</Chip> row {anchor.row}
        </p>
      )}
      {thread.resolved && (
        <p className={css.settled}>
          <Chip tone="good">resolved</Chip>
          <span className="dim">by {thread.resolved_by}</span>
          <button type="button" className={css.textButton} aria-expanded={open} onClick={() => setOpen(!open)}>
            {open ? "Hide" : "Show"}
          </button>
        </p>
      )}
      {open &&
        thread.comments.map((comment) => (
          <article key={comment.id} className={css.comment}>
            <header>
              <strong>{comment.by}</strong>
              <span className="dim">
                <Ago at={comment.at} />
                {comment.edited_at !== null && ", edited"}
              </span>
            </header>
            <p>{comment.body}</p>
          </article>
        ))}
      <Failure error={resolve.error} />
      {where.open &&
        (answering ? (
          <Composer where={where} reply_to={thread.id} label="Reply" close={() => setAnswering(false)} />
        ) : (
          <div className={css.threadButtons}>
            <Button variant="subtle" size="compact-xs" onClick={() => setAnswering(true)}>
              Reply
            </Button>
            <Button variant="subtle" color="gray" size="compact-xs" loading={resolve.isPending} onClick={() => resolve.mutate()}>
              {thread.resolved ? "Reopen" : "Resolve"}
            </Button>
          </div>
        ))}
    </section>
  );
}

/** Writes a comment: about a place, as an answer, or about the whole. */
export function Composer({ where, anchor, reply_to = "", label, close }: { where: Where; anchor?: Anchor | undefined; reply_to?: string; label: string; close?: () => void }) {
  const [body, setBody] = useState("");
  const key = useRef(crypto.randomUUID());
  const refresh = useRefresh(where);
  const send = useMutation({
    mutationFn: () => commentOnChange(where.project, where.number, { body: body.trim(), reply_to, key: key.current, ...(anchor ? { anchor } : {}) }),
    onSuccess: () => {
      key.current = crypto.randomUUID();
      setBody("");
      refresh();
      close?.();
    },
  });
  const ready = body.trim() !== "";
  return (
    <form
      className={css.composer}
      onSubmit={(event) => {
        event.preventDefault();
        if (ready) send.mutate();
      }}
    >
      <Failure error={send.error} />
      <Textarea
        aria-label={label}
        placeholder={label}
        autosize
        minRows={2}
        maxRows={14}
        size="xs"
        maxLength={10_000}
        data-autofocus
        value={body}
        onChange={(event) => setBody(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === "Enter" && (event.metaKey || event.ctrlKey) && ready) send.mutate();
          if (event.key === "Escape" && body === "") close?.();
        }}
      />
      <div className={css.threadButtons}>
        <Button type="submit" size="compact-sm" loading={send.isPending} disabled={!ready}>
          {reply_to === "" ? "Comment" : "Reply"}
        </Button>
        {close && (
          <Button variant="subtle" color="gray" size="compact-sm" onClick={close}>
            Cancel
          </Button>
        )}
      </div>
    </form>
  );
}

export function CommentButton({ line, onClick }: { line: number; onClick: () => void }) {
  return (
    <Tooltip label="Comment on this line">
      <ActionIcon className={css.commentButton ?? ""} size="xs" aria-label={`Comment on line ${line}`} onClick={onClick}>
        <IconMessagePlus size={13} />
      </ActionIcon>
    </Tooltip>
  );
}
