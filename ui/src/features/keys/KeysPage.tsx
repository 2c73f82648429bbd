import { Alert, Button, Menu, Modal, MultiSelect, Select, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { IconDots, IconKey, IconPlus, IconRotate, IconTrash } from "@tabler/icons-react";
import { useState } from "react";
import { createKey, keysQuery, revokeKey, rotateKey, type ApiKey, type NewSecret } from "@/api/keys";
import { asProblem } from "@/api/problem";
import { Chip, type Tone } from "@/kit/Chips";
import { Command } from "@/kit/Copy";
import kit from "@/kit/kit.module.css";
import { Page, Panel, Scroll } from "@/kit/Page";
import { EmptyState, ErrorState, Loading } from "@/kit/States";
import { Ago } from "@/kit/time";

const route = getRouteApi("/signed-in/p/$project/settings/keys");
const TONES: Record<ApiKey["state"], Tone> = { active: "good", expired: "neutral", revoked: "neutral" };
type Act = { kind: "create" } | { kind: "rotate" | "revoke"; key: ApiKey } | null;

/** The API keys of a project. A secret is shown once, where it is made, and never again. */
export function KeysPage() {
  const { project } = route.useParams();
  const query = useQuery(keysQuery(project));
  const queries = useQueryClient();
  const [act, setAct] = useState<Act>(null);
  const [secret, setSecret] = useState<NewSecret | null>(null);
  const done = (made: NewSecret | null): void => {
    setAct(null);
    setSecret(made);
    void queries.invalidateQueries({ queryKey: ["keys", project] });
  };
  const create = (
    <Button leftSection={<IconPlus size={14} />} onClick={() => setAct({ kind: "create" })}>
      Create key
    </Button>
  );
  return (
    <Page title="API keys" side={query.data && query.data.length > 0 ? create : undefined}>
      <Panel flush label="Keys">
        {query.data === undefined ? (
          query.isError ? (
            <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} />
          ) : (
            <Loading />
          )
        ) : query.data.length === 0 ? (
          <EmptyState icon={<IconKey size={28} stroke={1.4} color="var(--t-accent)" />} title="No keys in this project" more={<div style={{ textAlign: "center" }}>{create}</div>}>
            A key lets an app call the gateway, and names it in every trace.
          </EmptyState>
        ) : (
          <KeyTable keys={query.data} onAct={setAct} />
        )}
      </Panel>
      {act?.kind === "create" && <CreateModal project={project} close={() => setAct(null)} done={done} />}
      {act?.kind === "rotate" && <RotateModal project={project} apiKey={act.key} close={() => setAct(null)} done={done} />}
      {act?.kind === "revoke" && <RevokeModal project={project} apiKey={act.key} close={() => setAct(null)} done={() => done(null)} />}
      {secret && <SecretModal made={secret} close={() => setSecret(null)} />}
    </Page>
  );
}

function KeyTable({ keys, onAct }: { keys: ApiKey[]; onAct: (act: Act) => void }) {
  return (
    <Scroll label="Keys and their state">
      <table className={kit.table}>
        <thead>
          <tr>
            <th scope="col">Name</th>
            <th scope="col">State</th>
            <th scope="col">Scopes</th>
            <th scope="col">Key</th>
            <th scope="col">Last used</th>
            <th scope="col">Expires</th>
            <th scope="col">Made</th>
            <th scope="col">
              <span className="unseen">Actions</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {keys.map((key) => (
            <tr key={key.id} data-key={key.name}>
              <td style={{ fontWeight: 500 }}>{key.name || key.id}</td>
              <td>
                <Chip tone={TONES[key.state]}>{key.state}</Chip>
              </td>
              <td>{key.scopes.join(", ")}</td>
              <td className="mono dim" style={{ whiteSpace: "nowrap" }}>{`…${key.ending}`}</td>
              <td>
                <Ago at={key.last_used_at} />
              </td>
              <td>{key.expires_at === null ? <span className="dim">never</span> : <Ago at={key.expires_at} />}</td>
              <td>
                <Ago at={key.created_at} />
              </td>
              <td style={{ textAlign: "right" }}>
                {key.state !== "revoked" && (
                  <Menu position="bottom-end">
                    <Menu.Target>
                      <Button variant="subtle" color="gray" size="compact-xs" aria-label={`Actions for ${key.name}`}>
                        <IconDots size={15} />
                      </Button>
                    </Menu.Target>
                    <Menu.Dropdown>
                      <Menu.Item leftSection={<IconRotate size={14} />} onClick={() => onAct({ kind: "rotate", key })}>
                        Rotate…
                      </Menu.Item>
                      <Menu.Item leftSection={<IconTrash size={14} />} color="red" onClick={() => onAct({ kind: "revoke", key })}>
                        Revoke…
                      </Menu.Item>
                    </Menu.Dropdown>
                  </Menu>
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

const SCOPES = [
  { value: "data", label: "data: call models and apps" },
  { value: "control", label: "control: read traces, manage apps" },
  { value: "admin", label: "admin: everything" },
];
const DAYS = [
  { value: "", label: "Never" },
  { value: "7", label: "In 7 days" },
  { value: "30", label: "In 30 days" },
  { value: "90", label: "In 90 days" },
  { value: "365", label: "In a year" },
];

const CONTENT: { value: ApiKey["content"]; label: string }[] = [
  { value: "full", label: "Keep them" },
  { value: "redacted", label: "Keep them, secrets and personal data redacted" },
  { value: "off", label: "Keep none" },
];

function Failure({ error }: { error: unknown }) {
  if (error === null) return null;
  const problem = asProblem(error);
  return (
    <Alert color="red" variant="light" mb="sm" role="alert" title={problem.message}>
      {problem.hint}
    </Alert>
  );
}

function CreateModal({ project, close, done }: { project: string; close: () => void; done: (made: NewSecret) => void }) {
  const [name, setName] = useState("");
  const [scopes, setScopes] = useState<string[]>(["data"]);
  const [days, setDays] = useState("");
  const [content, setContent] = useState<ApiKey["content"]>("full");
  const create = useMutation({
    mutationFn: () => createKey(project, { name: name.trim(), scopes, content, read_only: false, expires_at: days === "" ? null : new Date(Date.now() + Number(days) * 86_400_000).toISOString() }),
    onSuccess: done,
  });
  return (
    <Modal opened onClose={close} title="Create an API key">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (name.trim() !== "" && scopes.length > 0) create.mutate();
        }}
        style={{ display: "grid", gap: 14 }}
      >
        <Failure error={create.error} />
        <TextInput label="Name" description="What will use it, such as support-bot in production" required value={name} maxLength={100} data-autofocus onChange={(event) => setName(event.currentTarget.value)} />
        <MultiSelect size="xs" label="Scopes" data={SCOPES} value={scopes} onChange={setScopes} error={scopes.length === 0 ? "A key needs a scope" : undefined} comboboxProps={{ withinPortal: true }} />
        <Select label="Expires" data={DAYS} value={days} allowDeselect={false} onChange={(value) => setDays(value ?? "")} />
        <Select label="Prompts and answers" description="What traces keep of the calls made with it" data={CONTENT} value={content} allowDeselect={false} onChange={(value) => setContent(CONTENT.find((c) => c.value === value)?.value ?? "full")} />
        <div style={{ display: "flex", justifyContent: "flex-end", gap: 8 }}>
          <Button variant="default" onClick={close}>
            Cancel
          </Button>
          <Button type="submit" loading={create.isPending} disabled={name.trim() === "" || scopes.length === 0}>
            Create key
          </Button>
        </div>
      </form>
    </Modal>
  );
}

const GRACE = [
  { value: "0", label: "At once" },
  { value: "3600", label: "After an hour" },
  { value: "86400", label: "After a day" },
  { value: "604800", label: "After a week" },
];

function RotateModal({ project, apiKey, close, done }: { project: string; apiKey: ApiKey; close: () => void; done: (made: NewSecret) => void }) {
  const [grace, setGrace] = useState("86400");
  const rotate = useMutation({ mutationFn: () => rotateKey(project, apiKey.id, Number(grace)), onSuccess: done });
  return (
    <Modal opened onClose={close} title={`Rotate ${apiKey.name}`}>
      <Failure error={rotate.error} />
      <p style={{ marginTop: 0 }}>A new secret is made. The old one goes on working for a while, so that what uses it can be changed over.</p>
      <Select label="The old secret stops working" data={GRACE} value={grace} allowDeselect={false} onChange={(value) => setGrace(value ?? "86400")} />
      <div style={{ display: "flex", justifyContent: "flex-end", gap: 8, marginTop: 16 }}>
        <Button variant="default" onClick={close}>
          Cancel
        </Button>
        <Button loading={rotate.isPending} onClick={() => rotate.mutate()}>
          Rotate
        </Button>
      </div>
    </Modal>
  );
}

function RevokeModal({ project, apiKey, close, done }: { project: string; apiKey: ApiKey; close: () => void; done: () => void }) {
  const revoke = useMutation({ mutationFn: () => revokeKey(project, apiKey.id), onSuccess: done });
  return (
    <Modal opened onClose={close} title={`Revoke ${apiKey.name}?`}>
      <Failure error={revoke.error} />
      <p style={{ marginTop: 0 }}>Whatever uses this key is refused from now on. This cannot be undone; its traces stay.</p>
      <div style={{ display: "flex", justifyContent: "flex-end", gap: 8 }}>
        <Button variant="default" onClick={close} data-autofocus>
          Cancel
        </Button>
        <Button color="red" loading={revoke.isPending} onClick={() => revoke.mutate()}>
          Revoke key
        </Button>
      </div>
    </Modal>
  );
}

function SecretModal({ made, close }: { made: NewSecret; close: () => void }) {
  return (
    <Modal opened onClose={close} title={`The secret of ${made.key.name}`} closeOnClickOutside={false} size="lg">
      <p style={{ marginTop: 0 }}>Copy it now: it is shown this once, and only its hash is kept.</p>
      <Command text={made.secret} what="secret" />
      <div style={{ display: "flex", justifyContent: "flex-end", marginTop: 16 }}>
        <Button onClick={close}>I have copied it</Button>
      </div>
    </Modal>
  );
}
