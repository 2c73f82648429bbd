import { Button, Checkbox, Group, Modal, Textarea, TextInput } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { erase, holdersQuery, impactQuery, type Erasure } from "@/api/revocations";
import { Failure } from "@/kit/Failure";
import { bytes, plural } from "@/kit/format";
import { ImpactView } from "./ImpactView";
import css from "./revocations.module.css";
import { useRevoked } from "./useRevoked";

/** Takes the content of an artifact away for good, after showing what that reaches and asking for its name. */
export function EraseModal({ project, digest, name, close }: { project: string; digest: string; name: string; close: () => void }) {
  const [reason, setReason] = useState("");
  const [typed, setTyped] = useState("");
  const [force, setForce] = useState(false);
  const [erased, setErased] = useState<Erasure | null>(null);
  const changed = useRevoked(project);
  const impact = useQuery(impactQuery(project, digest));
  const holders = useQuery(holdersQuery(project, digest));
  const live = impact.data?.live ?? [];
  const run = useMutation({
    mutationFn: () => erase(project, digest, reason.trim(), force),
    onSuccess: setErased,
  });
  const ready = reason.trim() !== "" && typed.trim() === name && impact.data !== undefined && (live.length === 0 || force);
  const leave = (): void => {
    if (erased !== null) changed();
    close();
  };
  return (
    <Modal opened onClose={leave} title={erased ? `${name} is erased` : `Erase ${name}?`} size="lg">
      {erased ? (
        <div className={css.form}>
          <p className={css.text} role="status">
            {plural(erased.freed.count, "file")} and {bytes(erased.freed.bytes)} are gone, and {plural(erased.rows, "row")} of the registry.
            {erased.blobs_left > 0 && ` ${plural(erased.blobs_left, "file")} stay: others share them, or they were put again lately.`} A tombstone with the reason is left.
          </p>
          <Group justify="flex-end">
            <Button onClick={leave}>Close</Button>
          </Group>
        </div>
      ) : (
        <form
          className={css.form}
          onSubmit={(event) => {
            event.preventDefault();
            if (ready) run.mutate();
          }}
        >
          <p className={css.text}>Its content goes away for good; nobody can bring it back. A tombstone with your reason stays in its place, and what was made of it is broken from then on.</p>
          <ImpactView project={project} digest={digest} />
          {holders.data && holders.data.holders.length > 0 && (
            <p className={css.text}>
              Held by: {holders.data.holders.slice(0, 5).map((each) => each.why).join("; ")}
              {holders.data.holders.length > 5 && `; and ${holders.data.holders.length - 5} more`}
            </p>
          )}
          {live.length > 0 && <Checkbox checked={force} onChange={(event) => setForce(event.currentTarget.checked)} label={`Erase it although ${plural(live.length, "release")} in service ${live.length === 1 ? "needs" : "need"} it: callers get errors`} />}
          <Textarea data-autofocus required label="Why" description="Stands on the tombstone for good" value={reason} onChange={(event) => setReason(event.currentTarget.value)} autosize minRows={2} maxRows={6} maxLength={4000} />
          <TextInput required label={`Type ${name} to confirm`} value={typed} onChange={(event) => setTyped(event.currentTarget.value)} autoComplete="off" />
          <Failure error={run.error} />
          <Group justify="flex-end">
            <Button variant="default" onClick={leave}>
              Cancel
            </Button>
            <Button type="submit" color="red" loading={run.isPending} disabled={!ready}>
              Erase for good
            </Button>
          </Group>
        </form>
      )}
    </Modal>
  );
}
