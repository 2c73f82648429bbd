import { Button, Modal, PasswordInput, Select, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { IconKey } from "@tabler/icons-react";
import { useState } from "react";
import { secretsQuery, setSecret } from "@/api/gateway";
import { Form } from "@/kit/Forms";
import css from "./gateway.module.css";

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/;

/** Chooses a secret by its name, or keeps a new one: its value goes to the server once and is never shown again. */
export function SecretSelect({ project, value, onChange, error, holds }: { project: string; value: string; onChange: (name: string) => void; error?: string | undefined; holds?: string | undefined }) {
  const secrets = useQuery(secretsQuery(project));
  const [making, setMaking] = useState(false);
  const names = (secrets.data ?? []).map((secret) => secret.name);
  const missing = value !== "" && secrets.data !== undefined && !names.includes(value);
  return (
    <>
      <div className={css.itemHead}>
        <Select
          label="API key"
          description={holds === undefined || holds === "" ? "A secret of this project, by its name" : `A secret of this project, by its name; it holds ${holds}`}
          placeholder="None: it asks for no key"
          data={[...names, ...(missing ? [value] : [])]}
          value={value === "" ? null : value}
          onChange={(name) => onChange(name ?? "")}
          error={error ?? (missing ? `There is no secret “${value}” in this project` : undefined)}
          clearable
          searchable
        />
        <Button variant="default" leftSection={<IconKey size={14} />} onClick={() => setMaking(true)}>
          {value === "" ? "New secret" : "New value"}
        </Button>
      </div>
      {making && (
        <SecretModal
          project={project}
          first={value}
          close={() => setMaking(false)}
          done={(name) => {
            setMaking(false);
            onChange(name);
          }}
        />
      )}
    </>
  );
}

/** Keeps a secret under a name, or gives one a new value. */
export function SecretModal({ project, first, close, done }: { project: string; first: string; close: () => void; done: (name: string) => void }) {
  const [name, setName] = useState(first);
  const [value, setValue] = useState("");
  const queries = useQueryClient();
  const wrong = name !== "" && !NAME.test(name);
  const keep = useMutation({
    mutationFn: () => setSecret(project, name, value),
    onSuccess: () => {
      void queries.invalidateQueries({ queryKey: ["secrets", project] });
      done(name);
    },
  });
  return (
    <Modal opened onClose={close} title="Keep a secret" zIndex={300}>
      <Form act="Keep the secret" submit={() => keep.mutate()} close={close} busy={keep.isPending} error={keep.error} disabled={name === "" || wrong || value === ""}>
        <p className={css.note}>It is encrypted here, goes to gateways in their sealed route table, and is shown nowhere again.</p>
        <TextInput label="Name" description="Such as openai-key; an existing one gets a new value" value={name} onChange={(event) => setName(event.currentTarget.value)} error={wrong ? "Letters, digits, . _ and -, at most 100" : undefined} required data-autofocus />
        <PasswordInput size="xs" label="Value" value={value} onChange={(event) => setValue(event.currentTarget.value)} maxLength={16_384} autoComplete="off" required visibilityToggleButtonProps={{ "aria-label": "Show what is typed" }} />
      </Form>
    </Modal>
  );
}
