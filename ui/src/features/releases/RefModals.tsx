import { Button, Group, Modal, Select, Textarea, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useId, useState } from "react";
import { appQuery, type Ref } from "@/api/apps";
import { gateCheckQuery } from "@/api/registry";
import { moveRef, releaseDiffQuery, rollBack } from "@/api/releases";
import { Failure } from "@/kit/Failure";
import { shortDigest } from "@/kit/format";
import { GateAnswers } from "./Gates";
import css from "./releases.module.css";

/** Everything that shows where a ref stands is asked for again. */
export function useRefsMoved(project: string): () => void {
  const queries = useQueryClient();
  return () => {
    for (const key of ["apps", "app", "release", "releases", "ref-log", "gate-check", "running-code"]) void queries.invalidateQueries({ queryKey: [key, project] });
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

/** Puts a ref back to the release that it had before, after showing what that changes. */
export function RollBackModal({ project, app, current, close }: { project: string; app: string; current: Ref; close: () => void }) {
  const [reason, setReason] = useState("");
  const moved = useRefsMoved(project);
  const detail = useQuery(appQuery(project, app));
  const before = detail.data?.history.find((move) => move.ref === current.name && move.to === current.digest)?.from ?? null;
  const diff = useQuery(releaseDiffQuery(project, current.digest, before ?? "", app));
  const back = useMutation({
    mutationFn: () => rollBack(project, app, current.name, current.digest, reason),
    onSuccess: () => {
      moved();
      close();
    },
    onError: moved,
  });
  return (
    <Modal opened onClose={close} title={`Roll ${current.name} back`} size="lg">
      <form
        className={css.form}
        onSubmit={(event) => {
          event.preventDefault();
          back.mutate();
        }}
      >
        <p className={css.quiet}>
          {before === null ? "This ref has no earlier release in the moves that are shown; the server looks further." : (
            <>
              From <span className="mono">{shortDigest(current.digest, 12)}</span> back to <span className="mono">{shortDigest(before, 12)}</span>, whole and at once. Gateways follow within a moment.
            </>
          )}
        </p>
        {diff.data && !diff.data.same && (
          <ul className={css.summary}>
            {diff.data.summary.map((line, i) => (
              <li key={i}>{line}</li>
            ))}
          </ul>
        )}
        <Textarea data-autofocus label="Reason" description="Stands in the log for good" value={reason} onChange={(event) => setReason(event.currentTarget.value)} autosize minRows={2} maxRows={6} maxLength={3900} size="xs" />
        <Failure error={back.error} />
        <Group justify="flex-end">
          <Button variant="default" onClick={close}>
            Cancel
          </Button>
          <Button type="submit" color="red" loading={back.isPending}>
            Roll {current.name} back
          </Button>
        </Group>
      </form>
    </Modal>
  );
}
