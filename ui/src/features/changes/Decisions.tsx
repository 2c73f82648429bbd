import { Alert, Button, Modal, Textarea, Tooltip } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { IconCheck, IconCircleDashed, IconGitMerge, IconX } from "@tabler/icons-react";
import { useState } from "react";
import { changeRebaseQuery, closeChange, mergeChange, proposeChange, rebaseChange, reviewChange, withdrawChange, type Change, type ChangeChecks } from "@/api/changes";
import { Chip } from "@/kit/Chips";
import { Failure } from "@/kit/Failure";
import { plural } from "@/kit/format";
import { Panel } from "@/kit/Page";
import { ErrorState, Loading } from "@/kit/States";
import { Ago } from "@/kit/time";
import css from "./changes.module.css";
import { nameOf, obstacles } from "./threads";

interface Props {
  project: string;
  change: Change;
  changed: (change: Change) => void;
}

type Act = "approve" | "request_changes" | "merge" | "break_glass" | "rebase" | "close" | null;

/** What may be done now, and the one thing that is asked for before it is done. */
export function Actions({ project, change, checks, changed }: Props & { checks: ChangeChecks | undefined }) {
  const [act, setAct] = useState<Act>(null);
  const may = (what: string): boolean => change.allowed.includes(what);
  const simple = useMutation({ mutationFn: (what: "propose" | "withdraw") => (what === "propose" ? proposeChange(project, change.number) : withdrawChange(project, change.number)), onSuccess: changed });
  const ended = change.state === "merged" || change.state === "closed";
  const reasons = checks === undefined ? ["The checks are being looked at"] : obstacles(checks.requirements);
  const mergeable = checks?.mergeable === true && may("merge");
  const close = (): void => setAct(null);
  const done = (next: Change): void => {
    changed(next);
    setAct(null);
  };
  if (ended) return null;
  return (
    <Panel title="What to do">
      <div className={css.actions}>
        <Failure error={simple.error} />
        {may("propose") && (
          <Button loading={simple.isPending} onClick={() => simple.mutate("propose")}>
            Ask for review
          </Button>
        )}
        {may("approve") && (
          <Button variant="light" leftSection={<IconCheck size={14} />} onClick={() => setAct("approve")}>
            Approve
          </Button>
        )}
        {may("request_changes") && (
          <Button variant="default" leftSection={<IconX size={14} />} onClick={() => setAct("request_changes")}>
            Request changes
          </Button>
        )}
        {change.behind && may("rebase") && (
          <Button variant="default" onClick={() => setAct("rebase")}>
            Bring up to date
          </Button>
        )}
        {change.state !== "draft" && (
          <Tooltip label={reasons[0] ?? "You may not merge it"} disabled={mergeable}>
            <Button leftSection={<IconGitMerge size={14} />} data-disabled={!mergeable || undefined} aria-disabled={!mergeable} onClick={() => mergeable && setAct("merge")}>
              Merge into {change.app}/{change.ref}
            </Button>
          </Tooltip>
        )}
        {!mergeable && change.state !== "draft" && checks !== undefined && (
          <ul className={css.obstacles} aria-label="What a merge still needs">
            {(reasons.length > 0 ? reasons : ["Somebody who may move the ref merges it"]).map((reason) => (
              <li key={reason}>{reason}</li>
            ))}
          </ul>
        )}
        {checks?.can_break_glass === true && !checks.mergeable && (
          <Button variant="subtle" color="red" size="compact-xs" onClick={() => setAct("break_glass")}>
            Merge without passing its gate…
          </Button>
        )}
        <div className={css.lesser}>
          {may("withdraw") && (
            <Button variant="subtle" color="gray" size="compact-xs" loading={simple.isPending} onClick={() => simple.mutate("withdraw")}>
              Back to draft
            </Button>
          )}
          {may("close") && (
            <Button variant="subtle" color="gray" size="compact-xs" onClick={() => setAct("close")}>
              Close without merging…
            </Button>
          )}
        </div>
      </div>
      {(act === "approve" || act === "request_changes") && <ReviewModal project={project} change={change} decision={act} close={close} changed={done} />}
      {(act === "merge" || act === "break_glass") && <MergeModal project={project} change={change} glass={act === "break_glass"} reasons={reasons} close={close} changed={done} />}
      {act === "rebase" && <RebaseModal project={project} change={change} close={close} changed={done} />}
      {act === "close" && <CloseModal project={project} change={change} close={close} changed={done} />}
    </Panel>
  );
}

function ReviewModal({ project, change, decision, close, changed }: Props & { decision: "approve" | "request_changes"; close: () => void }) {
  const [comment, setComment] = useState("");
  const review = useMutation({ mutationFn: () => reviewChange(project, change.number, { decision, revision: change.revision, comment: comment.trim() }), onSuccess: changed });
  const approve = decision === "approve";
  const ready = approve || comment.trim() !== "";
  return (
    <Modal opened onClose={close} title={approve ? `Approve #${change.number}` : `Request changes of #${change.number}`}>
      <form
        className={css.modal}
        onSubmit={(event) => {
          event.preventDefault();
          if (ready) review.mutate();
        }}
      >
        <Failure error={review.error} />
        <p className="dim">{approve ? "Your approval is signed, and is about exactly what is proposed now: if a part changes, it is asked for again." : "Say what is to change. The author is asked to push an edit."}</p>
        <Textarea label={approve ? "Comment" : "What is to change"} required={!approve} autosize minRows={3} maxLength={4000} data-autofocus value={comment} onChange={(event) => setComment(event.currentTarget.value)} />
        <div className={css.buttons}>
          <Button variant="default" onClick={close}>
            Cancel
          </Button>
          <Button type="submit" loading={review.isPending} disabled={!ready}>
            {approve ? "Approve" : "Request changes"}
          </Button>
        </div>
      </form>
    </Modal>
  );
}

function MergeModal({ project, change, glass, reasons, close, changed }: Props & { glass: boolean; reasons: string[]; close: () => void }) {
  const [reason, setReason] = useState("");
  const merge = useMutation({ mutationFn: () => mergeChange(project, change.number, { expected_candidate: change.candidate, reason: glass ? "" : reason.trim(), break_glass: glass ? reason.trim() : "" }), onSuccess: changed });
  const ready = !glass || reason.trim() !== "";
  return (
    <Modal opened onClose={close} title={glass ? "Merge without passing the gate" : `Merge #${change.number}?`}>
      <form
        className={css.modal}
        onSubmit={(event) => {
          event.preventDefault();
          if (ready) merge.mutate();
        }}
      >
        <Failure error={merge.error} />
        <p>
          <strong>
            {change.app}/{change.ref}
          </strong>{" "}
          answers with it from now on: {change.parts.join(", ")}. It can be rolled back on the app's page.
        </p>
        {glass && (
          <Alert color="red" variant="light" title="This passes by what is still needed">
            {reasons.join("; ")}. Who did it, and why, stands in the audit log.
          </Alert>
        )}
        <Textarea label={glass ? "Why it cannot wait" : "Note"} required={glass} autosize minRows={2} maxLength={3500} data-autofocus value={reason} onChange={(event) => setReason(event.currentTarget.value)} />
        <div className={css.buttons}>
          <Button variant="default" onClick={close}>
            Cancel
          </Button>
          <Button type="submit" color={glass ? "red" : undefined} loading={merge.isPending} disabled={!ready}>
            {glass ? "Merge all the same" : "Merge"}
          </Button>
        </div>
      </form>
    </Modal>
  );
}

const OUTCOMES = { clean: "applies as it is", merged: "both edits fit together", same: "already the same", conflict: "in conflict" } as const;

/** Puts the patch on what the ref has now; where both sides changed the same lines, a person says what holds. */
function RebaseModal({ project, change, close, changed }: Props & { close: () => void }) {
  const plan = useQuery(changeRebaseQuery(project, change.number, change.ref_digest ?? ""));
  const [texts, setTexts] = useState<Record<string, string>>({});
  const conflicts = (plan.data?.parts ?? []).filter((part) => part.outcome === "conflict");
  const rebase = useMutation({
    mutationFn: () =>
      rebaseChange(project, change.number, {
        expected_revision: change.revision,
        resolutions: conflicts.map((part) => {
          const patch = change.patch.find((each) => each.part === part.part);
          return part.text !== null ? { part: part.part, content: texts[part.part] ?? part.text, name: patch?.name ?? "", remove: false } : { part: part.part, value: texts[part.part] ?? part.ours, name: "", remove: false };
        }),
      }),
    onSuccess: changed,
  });
  const marked = conflicts.filter((part) => /^(<{7}|={7}|>{7})/m.test(texts[part.part] ?? part.text ?? ""));
  return (
    <Modal opened onClose={close} title={`Bring #${change.number} up to date`} size="xl">
      <div className={css.modal}>
        <Failure error={rebase.error} />
        {plan.data === undefined ? (
          plan.isError ? (
            <ErrorState error={plan.error} />
          ) : (
            <Loading rows={3} />
          )
        ) : (
          <>
            <p className="dim">
              {change.app}/{change.ref} has moved since this was proposed. The change is put on what it has now.
            </p>
            <ul className={css.plan}>
              {plan.data.parts.map((part) => (
                <li key={part.part}>
                  <span className="mono">{part.part}</span> <Chip tone={part.outcome === "conflict" ? "bad" : "good"}>{OUTCOMES[part.outcome]}</Chip>
                </li>
              ))}
            </ul>
            {conflicts.map((part) => (
              <Textarea
                key={part.part}
                label={`${part.part}: what it is to be`}
                description={part.text === null ? `Here ${part.ours}, there ${part.theirs}` : "Both edits stand between the marks: keep what holds, and take the marks away"}
                autosize
                minRows={part.text === null ? 1 : 8}
                maxRows={24}
                classNames={{ input: css.mono ?? "" }}
                value={texts[part.part] ?? part.text ?? part.ours}
                onChange={(event) => setTexts({ ...texts, [part.part]: event.currentTarget.value })}
              />
            ))}
            <div className={css.buttons}>
              <Button variant="default" onClick={close}>
                Cancel
              </Button>
              <Tooltip label="Take the marks away first" disabled={marked.length === 0}>
                <Button loading={rebase.isPending} data-disabled={marked.length > 0 || undefined} aria-disabled={marked.length > 0} onClick={() => marked.length === 0 && rebase.mutate()}>
                  Bring up to date
                </Button>
              </Tooltip>
            </div>
          </>
        )}
      </div>
    </Modal>
  );
}

function CloseModal({ project, change, close, changed }: Props & { close: () => void }) {
  const [reason, setReason] = useState("");
  const end = useMutation({ mutationFn: () => closeChange(project, change.number, reason.trim()), onSuccess: changed });
  return (
    <Modal opened onClose={close} title={`Close #${change.number} without merging?`}>
      <div className={css.modal}>
        <Failure error={end.error} />
        <Textarea label="Why" autosize minRows={2} maxLength={4000} data-autofocus value={reason} onChange={(event) => setReason(event.currentTarget.value)} />
        <div className={css.buttons}>
          <Button variant="default" onClick={close}>
            Cancel
          </Button>
          <Button color="red" loading={end.isPending} onClick={() => end.mutate()}>
            Close it
          </Button>
        </div>
      </div>
    </Modal>
  );
}

/** Everything that a merge needs, and whether it is there. */
export function Checks({ checks, error, retry }: { checks: ChangeChecks | undefined; error: unknown; retry: () => void }) {
  if (checks === undefined) return <Panel title="Checks">{error ? <ErrorState error={error} retry={retry} /> : <Loading rows={3} />}</Panel>;
  const passed = checks.requirements.filter((each) => each.passed).length;
  return (
    <Panel title="Checks" note={checks.requirements.length > 0 ? `${passed} of ${checks.requirements.length} passed` : undefined}>
      {checks.requirements.length === 0 ? (
        <p className="dim">{checks.governed ? "The gate asks for nothing more." : "No gate governs this ref: whoever may move it may merge."}</p>
      ) : (
        <ul className={css.checks}>
          {checks.requirements.map((each, n) => (
            <li key={`${each.kind} ${each.name} ${n}`} data-passed={each.passed}>
              {each.passed ? <IconCheck size={15} color="var(--t-good)" aria-label="passed" /> : <IconCircleDashed size={15} color="var(--t-warn)" aria-label="not yet" />}
              <span>
                <strong>{nameOf(each)}</strong>
                <span className={css.checkText}>{each.reason || each.missing}</span>
                {!each.passed && each.who.length > 0 && <span className="dim">Who can: {each.who.slice(0, 6).join(", ")}</span>}
              </span>
            </li>
          ))}
        </ul>
      )}
    </Panel>
  );
}

const STANDING = { all: "about what is proposed now", some: "about some of the parts as they are now", none: "about an earlier revision" } as const;

/** Who judged, when, and whether that is still about what is proposed. */
export function Reviews({ change }: { change: Change }) {
  return (
    <Panel title="Reviews" note={change.reviews.length > 0 ? plural(change.reviews.length, "review") : undefined}>
      {change.reviews.length === 0 ? (
        <p className="dim">Nobody has judged it yet.</p>
      ) : (
        <ul className={css.reviews}>
          {change.reviews.map((review) => (
            <li key={review.sequence}>
              <div>
                <strong>{review.by}</strong> <Chip tone={review.decision === "approve" ? (review.standing === "none" ? "neutral" : "good") : "warn"}>{review.decision === "approve" ? "approved" : "requested changes"}</Chip>
              </div>
              <span className="dim">
                <Ago at={review.at} />, {STANDING[review.standing]}
              </span>
              {review.problem !== "" && <span className={css.problem}>does not count: {review.problem}</span>}
              {review.comment !== "" && <p>{review.comment}</p>}
            </li>
          ))}
        </ul>
      )}
    </Panel>
  );
}
