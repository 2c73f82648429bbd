import { Button, Group, Modal, Select, Textarea, TextInput } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { moveAlias, type Alias } from "@/api/models";
import { Failure } from "@/kit/Failure";
import { shortDigest } from "@/kit/format";
import css from "./models.module.css";

interface Listed {
  semver: string;
  digest: string;
}

/** Points an alias to a version, if it still points where it was seen; null makes a new one. */
export function MoveAliasModal({ project, model, alias, listed, close }: { project: string; model: string; alias: Alias | null; listed: readonly Listed[]; close: () => void }) {
  const [name, setName] = useState(alias?.alias ?? "");
  const [version, setVersion] = useState(listed.find((each) => each.digest !== alias?.digest)?.semver ?? listed[0]?.semver ?? "");
  const [reason, setReason] = useState("");
  const queries = useQueryClient();
  const refresh = (): void => {
    for (const key of ["models", "versions", "staleness"]) void queries.invalidateQueries({ queryKey: [key, project] });
  };
  const move = useMutation({
    mutationFn: () => moveAlias(project, model, name.trim(), version, reason.trim(), alias?.digest ?? null),
    onSuccess: () => {
      refresh();
      close();
    },
    // Somebody else may have moved it: what is shown is asked for again, and the person decides anew.
    onError: refresh,
  });
  const now = alias === null ? "" : (listed.find((each) => each.digest === alias.digest)?.semver ?? shortDigest(alias.digest, 12));
  return (
    <Modal opened onClose={close} title={alias === null ? `A new alias of ${model}` : `Move ${alias.alias} of ${model}`} size="lg">
      <form
        className={css.form}
        onSubmit={(event) => {
          event.preventDefault();
          if (name.trim() !== "" && version !== "") move.mutate();
        }}
      >
        {alias === null ? <TextInput data-autofocus required label="Alias" placeholder="champion" value={name} onChange={(event) => setName(event.currentTarget.value)} maxLength={63} /> : <p className={css.text}>It points to {now} now. It moves only if it still does{alias.governed ? ", and its gate lets it" : ""}.</p>}
        <Select label="Version" data={[...new Set(listed.map((each) => each.semver))]} value={version} onChange={(value) => value && setVersion(value)} allowDeselect={false} searchable={listed.length > 10} />
        <Textarea label="Reason" description="Stands in the log for good" value={reason} onChange={(event) => setReason(event.currentTarget.value)} autosize minRows={2} maxRows={6} maxLength={4000} />
        <Failure error={move.error} />
        <Group justify="flex-end">
          <Button variant="default" onClick={close}>
            Cancel
          </Button>
          <Button type="submit" loading={move.isPending} disabled={name.trim() === "" || version === "" || (alias !== null && listed.find((each) => each.semver === version)?.digest === alias.digest)}>
            {alias === null ? "Make the alias" : `Move to ${version}`}
          </Button>
        </Group>
      </form>
    </Modal>
  );
}
