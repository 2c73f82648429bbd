import { Button, Group, Modal, Textarea } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { useState, type ReactNode } from "react";
import { reinstate, revoke, type Revocation } from "@/api/revocations";
import { Failure } from "@/kit/Failure";
import { Ago } from "@/kit/time";
import { ImpactView } from "./ImpactView";
import css from "./revocations.module.css";
import { useRevoked } from "./useRevoked";

interface Props {
  project: string;
  digest: string;
  name: string;
  close: () => void;
}

function Act({ title, button, act, danger = false, close, children }: { title: string; button: string; act: (reason: string) => Promise<unknown>; danger?: boolean; close: () => void; children: ReactNode }) {
  const [reason, setReason] = useState("");
  const run = useMutation({ mutationFn: () => act(reason.trim()), onSuccess: close });
  return (
    <Modal opened onClose={close} title={title} size="lg">
      <form
        className={css.form}
        onSubmit={(event) => {
          event.preventDefault();
          if (reason.trim() !== "") run.mutate();
        }}
      >
        {children}
        <Textarea data-autofocus required label="Why" description="Stands in the log for good" value={reason} onChange={(event) => setReason(event.currentTarget.value)} autosize minRows={2} maxRows={6} maxLength={4000} />
        <Failure error={run.error} />
        <Group justify="flex-end">
          <Button variant="default" onClick={close}>
            Cancel
          </Button>
          <Button type="submit" {...(danger ? { color: "red" } : {})} loading={run.isPending} disabled={reason.trim() === ""}>
            {button}
          </Button>
        </Group>
      </form>
    </Modal>
  );
}

/** Revokes an artifact, after showing what that reaches. */
export function RevokeModal({ project, digest, name, close }: Props) {
  const changed = useRevoked(project);
  return (
    <Act title={`Revoke ${name}?`} button="Revoke" danger close={close} act={(reason) => revoke(project, digest, reason).then(changed)}>
      <p className={css.text}>No ref moves any more to what contains it or was made from it. What is served goes on answering and is marked as broken, until its ref moves. It can be taken back.</p>
      <ImpactView project={project} digest={digest} />
    </Act>
  );
}

/** Takes a revocation back. */
export function ReinstateModal({ project, digest, name, standing, close }: Props & { standing: Revocation }) {
  const changed = useRevoked(project);
  return (
    <Act title={`Reinstate ${name}?`} button="Reinstate" close={close} act={(reason) => reinstate(project, digest, reason).then(changed)}>
      <p className={css.text}>
        Revoked <Ago at={standing.revoked_at} /> by {standing.revoked_by}: {standing.reason}
      </p>
      <p className={css.text}>Refs may move again to what contains it. Both the revocation and this stay in the log.</p>
    </Act>
  );
}
