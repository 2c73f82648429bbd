import { Button, Modal, Textarea } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { IconArrowBackUp, IconArrowRight } from "@tabler/icons-react";
import { useState } from "react";
import { releaseDiffQuery, rollBack, type AppDetail, type Ref } from "@/api/apps";
import { ReleaseChip } from "@/kit/Chips";
import { Failure } from "@/kit/Failure";
import { Loading } from "@/kit/States";
import css from "./app.module.css";

/** The release that a ref had before the present one, by the moves that are known here. */
export function releaseBefore(app: Pick<AppDetail, "history">, ref: Pick<Ref, "name" | "digest">): string | null {
  const arrived = app.history.find((move) => move.ref === ref.name && move.to === ref.digest);
  return arrived?.from ?? null;
}

/** Moves a ref back to the release that it had before, after saying what goes back with it. */
export function Rollback({ project, app, refs }: { project: string; app: AppDetail; refs: Ref[] }) {
  const [chosen, setChosen] = useState<{ ref: Ref; to: string } | null>(null);
  const able = refs.flatMap((ref) => {
    const to = releaseBefore(app, ref);
    return to === null ? [] : [{ ref, to }];
  });
  return (
    <>
      {able.map((each) => (
        <Button key={each.ref.name} variant="default" size="compact-sm" leftSection={<IconArrowBackUp size={14} />} onClick={() => setChosen(each)}>
          Roll back {each.ref.name}…
        </Button>
      ))}
      {chosen && <RollbackModal project={project} app={app.name} target={chosen.ref} to={chosen.to} close={() => setChosen(null)} />}
    </>
  );
}

function RollbackModal({ project, app, target, to, close }: { project: string; app: string; target: Ref; to: string; close: () => void }) {
  const [reason, setReason] = useState("");
  const queries = useQueryClient();
  const diff = useQuery(releaseDiffQuery(project, target.digest, to));
  const back = useMutation({
    mutationFn: () => rollBack(project, app, target.name, { to, expected: target.digest, reason: reason.trim(), force: false }),
    onSuccess: () => {
      close();
      for (const key of ["app", "apps", "changes", "change"]) void queries.invalidateQueries({ queryKey: [key, project] });
    },
  });
  return (
    <Modal opened onClose={close} title={`Roll back ${app}/${target.name}?`} size="lg">
      <div className={css.modal}>
        <Failure error={back.error} />
        <p className={css.move}>
          <ReleaseChip project={project} app={app} digest={target.digest} />
          <IconArrowRight size={13} aria-label="to" />
          <ReleaseChip project={project} app={app} digest={to} />
        </p>
        <div>
          <strong>What goes back</strong>
          {diff.data ? (
            <ul aria-label="What goes back">
              {diff.data.summary.length === 0 && <li>Nothing: both releases say the same.</li>}
              {diff.data.summary.map((line) => (
                <li key={line}>{line}</li>
              ))}
            </ul>
          ) : diff.isError ? (
            <Failure error={diff.error} />
          ) : (
            <Loading rows={2} />
          )}
        </div>
        <p className="dim">Gateways follow within a second. Both releases stay, and the ref can move forward again.</p>
        <Textarea label="Why" autosize minRows={2} maxLength={3900} data-autofocus value={reason} onChange={(event) => setReason(event.currentTarget.value)} />
        <div className={css.buttons}>
          <Button variant="default" onClick={close}>
            Cancel
          </Button>
          <Button color="red" loading={back.isPending} onClick={() => back.mutate()}>
            Roll back
          </Button>
        </div>
      </div>
    </Modal>
  );
}
