import { ActionIcon, Autocomplete, Button, Drawer, Menu, MultiSelect, NumberInput, SegmentedControl, Select, Switch, TagsInput, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { IconKey, IconPlus, IconTrash } from "@tabler/icons-react";
import { useState } from "react";
import { MOST_SECRETS, secretsQuery } from "@/api/gateway";
import { teamsQuery } from "@/api/limits";
import { putToolServer, type ToolAccess, type ToolServer } from "@/api/tools";
import { useEverywhere } from "@/features/session/useAdmin";
import { Form, useChecked } from "@/kit/Forms";
import forms from "@/kit/forms.module.css";
import css from "./gateway.module.css";
import { KeySelect } from "./KeySelect";
import { SecretModal } from "./SecretSelect";
import { serverBodyOf, serverDraftOf, serverProblemsOf, type Pair, type ToolServerDraft } from "./toolServerForm";
import { POLICIES } from "./toolWords";

const MOST_PAIRS = 32;

/** Registers an MCP server, or changes how it is reached and who may call what of it. */
export function ToolServerForm({ project, server, taken, close, done }: { project: string; server?: ToolServer; taken: string[]; close: () => void; done: (saved: ToolServer) => void }) {
  const [draft, setDraft] = useState<ToolServerDraft>(() => serverDraftOf(server));
  const queries = useQueryClient();
  const everywhere = useEverywhere();
  const secrets = useQuery(secretsQuery(project));
  const names = secrets.data?.map((secret) => secret.name);
  // Of a list that goes on, nobody can say what is not in it.
  const all = names && names.length < MOST_SECRETS ? names : undefined;
  const problems = serverProblemsOf(draft, server === undefined ? taken : [], all);
  const { told, wrong, check } = useChecked(problems);
  const set = (change: Partial<ToolServerDraft>): void => setDraft((before) => ({ ...before, ...change }));
  const save = useMutation({
    mutationFn: () => putToolServer(project, draft.name, serverBodyOf(draft, server)),
    onSuccess: (saved) => {
      void queries.invalidateQueries({ queryKey: ["tool-servers", project] });
      void queries.invalidateQueries({ queryKey: ["tools", project, saved.name] });
      done(saved);
    },
  });
  const number = (field: "connect_timeout_s" | "first_byte_timeout_s" | "idle_timeout_s" | "total_timeout_s" | "max_connections", label: string, description: string) => (
    <NumberInput size="xs" label={label} description={description} min={0} value={draft[field]} onChange={(value) => typeof value === "number" && set({ [field]: value })} />
  );
  return (
    <Drawer opened onClose={close} position="right" size="xl" title={server === undefined ? "Add an MCP server" : `Change ${server.name}`}>
      <Form
        act={server === undefined ? "Add the server" : "Save"}
        submit={() => check() && save.mutate()}
        close={close}
        busy={save.isPending}
        error={save.error}
        wrong={wrong}
      >
        <TextInput label="Name" description="Clients reach it at /mcp/NAME of the gateway; it never changes" value={draft.name} onChange={(event) => set({ name: event.currentTarget.value })} error={told.name} disabled={server !== undefined} required data-autofocus />
        <SegmentedControl
          aria-label="What it is"
          value={draft.kind}
          data={[
            { value: "url", label: "At an address" },
            { value: "command", label: "A program" },
          ]}
          onChange={(kind) => set({ kind })}
        />
        {draft.kind === "url" ? (
          <>
            <TextInput label="Address" description="All of it, with its path" placeholder="https://mcp.example.com/mcp" value={draft.url} onChange={(event) => set({ url: event.currentTarget.value })} error={told.url} required />
            <Pairs project={project} title="Headers" note="Sent to it with every request. Secrets stand by their names in braces and are never shown; the client's own key never goes there." first={{ name: "Authorization", value: "Bearer " }} one="header" secrets={names ?? []} given={draft.headers} change={(headers) => set({ headers })} told={(at) => told[`headers.${at}`]} />
          </>
        ) : (
          <>
            <TextInput label="Command" description="It runs only where an administrator of the machine lists it (TETRAD_MCP_COMMANDS)" placeholder="uvx mcp-server-git --repository /srv/repo" value={draft.command} onChange={(event) => set({ command: event.currentTarget.value })} error={told.command} required />
            <Pairs project={project} title="Variables" note="Of the program; none of Tetrad's own are there. Secrets stand by their names in braces and are never shown." first={{ name: "", value: "" }} one="variable" secrets={names ?? []} given={draft.env} change={(env) => set({ env })} told={(at) => told[`env.${at}`]} />
          </>
        )}
        <TagsInput size="xs" label="Tools that may be used" description="Patterns such as search_*; what no pattern lets through is refused, approved or not" value={draft.allow} onChange={(allow) => set({ allow })} error={told.allow} maxTags={100} />
        <Select label="A tool that is not as it was approved" description="And one that nobody approved" data={POLICIES.map(({ value, label }) => ({ value, label }))} value={draft.on_change} onChange={(value) => set({ on_change: value === "alert" ? "alert" : "refuse" })} allowDeselect={false} />
        <Access project={project} given={draft.access} change={(access) => set({ access })} told={(at) => told[`access.${at}`]} />
        <details className={css.more}>
          <summary>What is passed on, time and place</summary>
          <div className={forms.form}>
            <MultiSelect
              size="xs"
              label="Passed on"
              description="Of what MCP knows"
              data={["tools", "resources", "prompts"]}
              value={draft.serves}
              onChange={(chosen) => set({ serves: (["tools", "resources", "prompts"] as const).filter((each) => chosen.includes(each)) })}
              error={told.serves}
            />
            <div className={css.triple}>
              {number("connect_timeout_s", "Connect, s", "at most")}
              {number("first_byte_timeout_s", "First byte, s", "at most")}
              {number("idle_timeout_s", "Silence, s", "within an answer, at most")}
              {number("total_timeout_s", "Whole answer, s", "at most")}
              {number("max_connections", "Connections", "of one gateway worker")}
            </div>
            {draft.kind === "url" && (
              <Switch size="xs" label="It may be at a private address" description={everywhere ? "A private address that you type above is taken for one that you mean" : "Administrators of the whole installation decide that"} checked={draft.internal === true} disabled={!everywhere} onChange={(event) => set({ internal: event.currentTarget.checked })} />
            )}
          </div>
        </details>
      </Form>
    </Drawer>
  );
}

/** Names with values, into which secrets are put by name. */
function Pairs({ project, title, note, one, first, secrets, given, change, told }: { project: string; title: string; note: string; one: string; first: Pair; secrets: string[]; given: Pair[]; change: (given: Pair[]) => void; told: (at: string) => string | undefined }) {
  const [making, setMaking] = useState<number | null>(null);
  const put = (i: number, next: Partial<Pair>): void => change(given.map((each, n) => (n === i ? { ...each, ...next } : each)));
  const insert = (i: number, secret: string): void => put(i, { value: `${given[i]?.value ?? ""}{${secret}}` });
  return (
    <fieldset className={css.group}>
      <legend>{title}</legend>
      <p className={css.note}>{note}</p>
      {given.map((pair, i) => {
        const named = pair.name || `${one} ${i + 1}`;
        return (
          <div key={i} className={css.pairRow}>
            <TextInput aria-label={`Name of ${one} ${i + 1}`} placeholder={one === "header" ? "Authorization" : "GIT_TOKEN"} value={pair.name} onChange={(event) => put(i, { name: event.currentTarget.value })} error={told(`${i}.name`)} />
            <TextInput aria-label={`Value of ${named}`} placeholder="Bearer {secret-name}" value={pair.value} onChange={(event) => put(i, { value: event.currentTarget.value })} error={told(`${i}.value`)} autoComplete="off" />
            <Menu position="bottom-end" zIndex={301}>
              <Menu.Target>
                <ActionIcon aria-label={`Put a secret into ${named}`}>
                  <IconKey size={15} />
                </ActionIcon>
              </Menu.Target>
              <Menu.Dropdown mah={280} style={{ overflowY: "auto" }}>
                <Menu.Label>A secret of this project</Menu.Label>
                {secrets.map((secret) => (
                  <Menu.Item key={secret} onClick={() => insert(i, secret)}>
                    {secret}
                  </Menu.Item>
                ))}
                <Menu.Item leftSection={<IconPlus size={14} />} onClick={() => setMaking(i)}>
                  New secret…
                </Menu.Item>
              </Menu.Dropdown>
            </Menu>
            <ActionIcon aria-label={`Remove ${named}`} onClick={() => change(given.filter((_, n) => n !== i))}>
              <IconTrash size={15} />
            </ActionIcon>
          </div>
        );
      })}
      {given.length < MOST_PAIRS && (
        <Button variant="default" leftSection={<IconPlus size={14} />} style={{ justifySelf: "start" }} onClick={() => change([...given, given.length === 0 ? first : { name: "", value: "" }])}>
          {given.length === 0 ? `A ${one}` : `Another ${one}`}
        </Button>
      )}
      {making !== null && (
        <SecretModal
          project={project}
          first=""
          close={() => setMaking(null)}
          done={(name) => {
            insert(making, name);
            setMaking(null);
          }}
        />
      )}
    </fieldset>
  );
}

/** Which keys and teams may use it, and which of its tools; without any, all keys of the project may. */
function Access({ project, given, change, told }: { project: string; given: ToolAccess[]; change: (given: ToolAccess[]) => void; told: (at: string) => string | undefined }) {
  const teams = useQuery({ ...teamsQuery(project), enabled: given.some((each) => each.subject === "team") });
  const put = (i: number, next: Partial<ToolAccess>): void => change(given.map((each, n) => (n === i ? { ...each, ...next } : each)));
  return (
    <fieldset className={css.group}>
      <legend>Who may use it</legend>
      <p className={css.note}>{given.length === 0 ? "All keys of the project." : "Only these; for everybody else the server does not exist."}</p>
      {given.map((each, i) => (
        <div key={i} className={css.item}>
          <div className={css.itemHead}>
            <Select aria-label={`Kind of ${i + 1}`} data={[{ value: "key", label: "API key" }, { value: "team", label: "Team" }]} value={each.subject} onChange={(subject) => put(i, { subject: subject === "team" ? "team" : "key", name: "" })} allowDeselect={false} />
            {each.subject === "key" ? (
              <KeySelect project={project} aria-label={`Key ${i + 1}`} placeholder="Choose a key" value={each.name} onChange={(name) => put(i, { name })} error={told(`${i}.name`)} style={{ flex: 1 }} />
            ) : (
              <Autocomplete size="xs" aria-label={`Team ${i + 1}`} placeholder="Name of a team" data={(teams.data ?? []).map((team) => team.name)} value={each.name} onChange={(name) => put(i, { name })} error={told(`${i}.name`)} maxLength={100} style={{ flex: 1 }} />
            )}
            <ActionIcon aria-label={`Remove ${each.name || `entry ${i + 1}`}`} onClick={() => change(given.filter((_, n) => n !== i))}>
              <IconTrash size={15} />
            </ActionIcon>
          </div>
          <TagsInput size="xs" aria-label={`Tools of ${each.name || `entry ${i + 1}`}`} placeholder="Patterns such as search_*" value={each.tools} onChange={(tools) => put(i, { tools })} error={told(`${i}.tools`)} maxTags={100} />
        </div>
      ))}
      <Button variant="default" leftSection={<IconPlus size={14} />} style={{ justifySelf: "start" }} onClick={() => change([...given, { subject: "key", name: "", tools: ["*"] }])}>
        {given.length === 0 ? "Only some keys or teams" : "Another key or team"}
      </Button>
    </fieldset>
  );
}
