import { Button, Group, Modal, Select, Textarea, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { IconArrowRight } from "@tabler/icons-react";
import { useId, useState } from "react";
import { appQuery, type AppDetail, type Ref } from "@/api/apps";
import { gateCheckQuery } from "@/api/registry";
import { moveRef, releaseDiffQuery, rollBack } from "@/api/releases";
import { ReleaseChip } from "@/kit/Chips";
import { Failure } from "@/kit/Failure";
import { shortDigest } from "@/kit/format";
import { Loading } from "@/kit/States";
import { GateAnswers } from "./Gates";
import css from "./releases.module.css";

/** Everything that shows where a ref stands is asked for again. */
export function useRefsMoved(project: string): () => void {
  const queries = useQueryClient();
  return () => {
    for (const key of ["apps", "app", "release", "releases", "ref-log", "gate-check", "running-code", "changes", "change", "staleness"]) void queries.invalidateQueries({ queryKey: [key, project] });
  };
}

const NEW = "\u0000new";

/** Points a ref to a release, if it still stands where it was seen and its gate lets it. */
export function MoveRefModal({ project, app, digest, refs, start, close }: { project: string; app: string; digest: string; refs: Ref[]; start?: string; close: () => void }) {
  const [chosen, setChosen] = useState(start ?? refs.find((ref) => ref.digest !== digest)?.name ?? NEW);
  const [fresh, setFresh] = useState("");
  const [reason, setReason] = useState("");
  const moved = useRefsMoved(project);
  const form = useId();
  const name = chosen === NEW ? fresh.trim() : chosen;
  const current = refs.find((ref) => ref.name === name);
  const gates = useQuery({ ...gateCheckQuery(project, `${app}/${name}`, digest), enabled: name !== "" && /^[a-z0-9]/.test(name) });
  const move = useMutation({
    mutationFn: () => moveRef(project, app, name, digest, current?.digest ?? null, reason),
    onSuccess: () => {
      moved();
      close();
    },
    // Somebody else may have moved it: what is shown is asked for again, and the person decides anew.
    onError: moved,
  });
  return (
    <Modal opened onClose={close} title={`Move a ref to ${shortDigest(digest, 12)}`} size="lg">
      <form
        id={form}
        className={css.form}
        onSubmit={(event) => {
          event.preventDefault();
          if (name !== "") move.mutate();
        }}
      >
        <Select
          data-autofocus
          label="Ref"
          value={chosen}
          data={[...refs.map((ref) => ({ value: ref.name, label: ref.digest === digest ? `${ref.name} (stands here already)` : `${ref.name}, now ${shortDigest(ref.digest, 12)}`, disabled: ref.digest === digest })), { value: NEW, label: "A new ref …" }]}
          onChange={(value) => {
            setChosen(value ?? NEW);
            move.reset();
          }}
          allowDeselect={false}
        />
        {chosen === NEW && <TextInput label="Name of the new ref" placeholder="staging" value={fresh} onChange={(event) => setFresh(event.currentTarget.value)} maxLength={63} required />}
        <Textarea label="Reason" description="Stands in the log for good" value={reason} onChange={(event) => setReason(event.currentTarget.value)} autosize minRows={2} maxRows={6} maxLength={4000} size="xs" />
        {gates.data && <GateAnswers check={gates.data} />}
        <Failure error={move.error} />
        <Group justify="flex-end">
          <Button variant="default" onClick={close}>
            Cancel
          </Button>
          <Button type="submit" loading={move.isPending} disabled={name === "" || current?.digest === digest}>
            {name === "" ? "Move" : `Move ${name}`}
          </Button>
        </Group>
      </form>
    </Modal>
  );
}

/** The release that a ref had before the present one, by the moves that are known here. */
export function releaseBefore(app: Pick<AppDetail, "history">, ref: Pick<Ref, "name" | "digest">): string | null {
  const arrived = app.history.find((move) => move.ref === ref.name && move.to === ref.digest);
  return arrived?.from ?? null;
}

/** Moves a ref back to the release that it had before, after saying what goes back with it. */
export function RollBackModal({ project, app, current, close }: { project: string; app: string; current: Ref; close: () => void }) {
  const [reason, setReason] = useState("");
  const moved = useRefsMoved(project);
  const detail = useQuery(appQuery(project, app));
  const to = detail.data ? releaseBefore(detail.data, current) : null;
  const diff = useQuery(releaseDiffQuery(project, current.digest, to ?? "", app));
  const back = useMutation({
    mutationFn: () => rollBack(project, app, current.name, { to, expected: current.digest, reason: reason.trim(), force: false }),
    onSuccess: () => {
      moved();
      close();
    },
    // Somebody else may have moved it: what is shown is asked for again, and the person decides anew.
    onError: moved,
  });
  return (
    <Modal opened onClose={close} title={`Roll back ${app}/${current.name}?`} size="lg">
      <form
        className={css.form}
        onSubmit={(event) => {
          event.preventDefault();
          back.mutate();
        }}
      >
        {to === null ? (
          <p className={css.quiet}>{detail.data ? "The moves that are shown here do not reach back to an earlier release; the server looks further." : "…"}</p>
        ) : (
          <>
            <p className={css.chips}>
              <ReleaseChip project={project} app={app} digest={current.digest} />
              <IconArrowRight size={13} aria-label="to" />
              <ReleaseChip project={project} app={app} digest={to} />
            </p>
            <div>
              <strong>What goes back</strong>
              {diff.data ? (
                <ul aria-label="What goes back" className={css.summary}>
                  {diff.data.summary.length === 0 && <li>Nothing: both releases say the same.</li>}
                  {diff.data.summary.map((line, i) => (
                    <li key={i}>{line}</li>
                  ))}
                </ul>
              ) : diff.isError ? (
                <Failure error={diff.error} />
              ) : (
                <Loading rows={2} />
              )}
            </div>
          </>
        )}
        <p className={css.quiet}>Gateways follow within a second. Both releases stay, and the ref can move forward again.</p>
        <Textarea data-autofocus label="Why" description="Stands in the log for good" value={reason} onChange={(event) => setReason(event.currentTarget.value)} autosize minRows={2} maxRows={6} maxLength={3900} />
        <Failure error={back.error} />
        <Group justify="flex-end">
          <Button variant="default" onClick={close}>
            Cancel
          </Button>
          <Button type="submit" color="red" loading={back.isPending}>
            Roll back
          </Button>
        </Group>
      </form>
    </Modal>
  );
}
