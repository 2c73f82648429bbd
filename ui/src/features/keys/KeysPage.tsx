import { Autocomplete, Button, Menu, Modal, MultiSelect, SegmentedControl, Select, TagsInput, TextInput } from "@mantine/core";
import { keepPreviousData, useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { IconDots, IconEdit, IconKey, IconPlus, IconRotate, IconTrash } from "@tabler/icons-react";
import { useState } from "react";
import { routedModelsQuery } from "@/api/gateway";
import { allKeysQuery, changeKey, createKey, KEY_SORTS, KEY_STATES, revokeKey, rotateKey, type ApiKey, type KeySort, type NewSecret } from "@/api/keys";
import { keyUsageQuery, teamsQuery, type Limit, type Usage } from "@/api/limits";
import { GatewayPage } from "@/features/gateway/GatewayPage";
import { amountOf } from "@/features/gateway/words";
import { AskAdmin } from "@/features/session/AskAdmin";
import { useAdmin } from "@/features/session/useAdmin";
import { Chip, type Tone } from "@/kit/Chips";
import { Command } from "@/kit/Copy";
import { Failure } from "@/kit/Failure";
import { UNKNOWN } from "@/kit/format";
import kit from "@/kit/kit.module.css";
import { More, SearchBox, SortHead } from "@/kit/Lists";
import { Panel, Scroll } from "@/kit/Page";
import { withSearch } from "@/kit/search";
import { EmptyState, ErrorState, Loading } from "@/kit/States";
import { Ago } from "@/kit/time";
import gateway from "../gateway/gateway.module.css";
import { useLimitsOf } from "./keyLimits";
import { callsOf, costLines } from "./keyUse";
import type { KeysSearch } from "./search";

const route = getRouteApi("/signed-in/p/$project/gateway/keys");
const TONES: Record<ApiKey["state"], Tone> = { active: "good", expired: "neutral", revoked: "neutral" };
type Act = { kind: "create" } | { kind: "change" | "rotate" | "revoke"; key: ApiKey } | null;

/** The API keys of a project. A secret is shown once, where it is made, and never again. */
export function KeysPage() {
  const { project } = route.useParams();
  const { q = "", state, sort = "-created" } = route.useSearch();
  const navigate = route.useNavigate();
  const admin = useAdmin();
  const query = useInfiniteQuery({ ...allKeysQuery(project, { q, state, sort }), placeholderData: keepPreviousData, enabled: admin });
  const set = (next: KeysSearch): void => void navigate({ search: (old) => withSearch<KeysSearch>(old, next), replace: true });
  const searched = q !== "" || state !== undefined;
  const usage = useQuery(keyUsageQuery(project));
  const keys = query.data?.pages.flatMap((page) => page.items) ?? [];
  const limits = useLimitsOf(project, (query.data?.pages ?? []).map((page) => page.items));
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
    <GatewayPage project={project} title="Keys" side={admin && (keys.length > 0 || searched) ? create : undefined}>
      <Panel title="API keys" note="calls and cost: the last 24 hours" flush label="Keys">
        {admin && (keys.length > 0 || searched) && (
          <div className={gateway.filters} role="search">
            <SegmentedControl aria-label="State" value={state ?? "all"} data={["all", ...KEY_STATES]} onChange={(next) => set({ state: KEY_STATES.find((each) => each === next) })} />
            <SearchBox value={q} onChange={(text) => set({ q: text })} label="Find a key" placeholder="Name, ending or id" />
          </div>
        )}
        {!admin ? (
          <EmptyState icon={<IconKey size={28} stroke={1.4} color="var(--t-accent)" />} title="Keys are shown to admins of this project" more={<AskAdmin to="make, change or revoke one" />}>
            A key lets an app call the gateway, and names it in every trace.
          </EmptyState>
        ) : query.data === undefined ? (
          query.isError ? (
            <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} />
          ) : (
            <Loading />
          )
        ) : keys.length === 0 && searched ? (
          <EmptyState title="No key is so">Search for another part of its name, or among keys of all states.</EmptyState>
        ) : keys.length === 0 ? (
          <EmptyState icon={<IconKey size={28} stroke={1.4} color="var(--t-accent)" />} title="No keys in this project" more={<div style={{ textAlign: "center" }}>{create}</div>}>
            A key lets an app call the gateway, and names it in every trace.
          </EmptyState>
        ) : (
          <>
            <KeyTable project={project} keys={keys} usage={usage.data} limits={limits} sort={sort} onSort={(next) => set({ sort: next === "-created" ? undefined : KEY_SORTS.find((each) => each === next) })} onAct={setAct} />
            <More has={query.hasNextPage} busy={query.isFetchingNextPage} load={() => void query.fetchNextPage()} what="more keys" />
          </>
        )}
      </Panel>
      {act?.kind === "create" && <CreateModal project={project} close={() => setAct(null)} done={done} />}
      {act?.kind === "change" && <ChangeModal project={project} apiKey={act.key} close={() => setAct(null)} done={() => done(null)} />}
      {act?.kind === "rotate" && <RotateModal project={project} apiKey={act.key} close={() => setAct(null)} done={done} />}
      {act?.kind === "revoke" && <RevokeModal project={project} apiKey={act.key} close={() => setAct(null)} done={() => done(null)} />}
      {secret && <SecretModal made={secret} close={() => setSecret(null)} />}
    </GatewayPage>
  );
}

function KeyTable({ project, keys, usage, limits, sort, onSort, onAct }: { project: string; keys: ApiKey[]; usage: Usage[] | undefined; limits: ReadonlyMap<string, readonly Limit[]>; sort: KeySort; onSort: (sort: string) => void; onAct: ((act: Act) => void) | null }) {
  return (
    <Scroll label="Keys and their state">
      <table className={kit.table}>
        <thead>
          <tr>
            <SortHead field="name" sort={sort} onSort={onSort}>
              Name
            </SortHead>
            <th scope="col">State</th>
            <th scope="col">Scopes</th>
            <th scope="col">Team</th>
            <th scope="col">Limits</th>
            <th scope="col">Traces keep</th>
            <th scope="col" className={kit.right}>
              Calls
            </th>
            <th scope="col" className={kit.right}>
              Cost
            </th>
            <SortHead field="created" sort={sort} onSort={onSort} first="desc">
              Created
            </SortHead>
            <SortHead field="last_used" sort={sort} onSort={onSort} first="desc">
              Last used
            </SortHead>
            <SortHead field="expires" sort={sort} onSort={onSort}>
              Expires
            </SortHead>
            {onAct && (
              <th scope="col">
                <span className="unseen">Actions</span>
              </th>
            )}
          </tr>
        </thead>
        <tbody>
          {keys.map((key) => {
            const used = usage?.find((each) => each.name === key.id);
            return (
              <tr key={key.id} data-key={key.name}>
                <td className={gateway.named} title={key.id}>
                  <span style={{ fontWeight: 500 }}>{key.name || key.id}</span> <span className="mono dim">{`…${key.ending}`}</span>
                </td>
                <td>
                  <Chip tone={TONES[key.state]}>{key.state}</Chip>
                </td>
                <td title={key.models.length > 0 ? `Only ${key.models.join(", ")}` : ""}>
                  {key.scopes.join(", ")}
                  {key.read_only && " (reads only)"}
                  {key.models.length > 0 && <span className="dim"> some models</span>}
                </td>
                <td className={gateway.team}>{key.team || <span className="dim">none</span>}</td>
                <td className={gateway.whole}>
                  <LimitsOf limits={limits.get(key.id)} project={project} />
                </td>
                <td>{KEEPS[key.content]}</td>
                <td className={kit.right}>{callsOf(usage, key.id)}</td>
                <td className={`${kit.right} ${gateway.whole}`}>
                  {costLines(used).map(({ text, unknown }) => (
                    <div key={text} className={unknown ? "dim" : undefined}>
                      {text}
                    </div>
                  ))}
                </td>
                <td style={{ whiteSpace: "nowrap" }}>
                  <Ago at={key.created_at} />
                </td>
                <td style={{ whiteSpace: "nowrap" }}>
                  {key.last_used_at === null && used ? "last 24 hours" : <Ago at={key.last_used_at} />}
                </td>
                <td style={{ whiteSpace: "nowrap" }}>{key.expires_at === null ? <span className="dim">never</span> : <Ago at={key.expires_at} />}</td>
                {onAct && (
                  <td style={{ textAlign: "right" }}>
                    {key.state !== "revoked" && (
                      <Menu position="bottom-end">
                        <Menu.Target>
                          <Button variant="subtle" color="gray" size="compact-xs" aria-label={`Actions for ${key.name}`}>
                            <IconDots size={15} />
                          </Button>
                        </Menu.Target>
                        <Menu.Dropdown>
                          <Menu.Item leftSection={<IconEdit size={14} />} onClick={() => onAct({ kind: "change", key })}>
                            Team and models…
                          </Menu.Item>
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
                )}
              </tr>
            );
          })}
        </tbody>
      </table>
    </Scroll>
  );
}

const KEEPS: Record<ApiKey["content"], string> = { full: "everything", redacted: "redacted", off: "no content" };

/** The limits that hold for a key by itself, unknown until they are read; those of its team, app and project hold as well. */
function LimitsOf({ project, limits }: { project: string; limits: readonly Limit[] | undefined }) {
  if (limits === undefined || limits.length === 0) return <span className="dim">{limits === undefined ? UNKNOWN : "none"}</span>;
  return (
    <Link to="/p/$project/gateway/budgets" params={{ project }} className="link">
      {limits.map((limit) => (
        <div key={limit.id}>{amountOf(limit)}</div>
      ))}
    </Link>
  );
}

const SCOPES = [
  { value: "data", label: "data: call models and apps" },
  { value: "control", label: "control: read traces, manage apps" },
  { value: "pin", label: "pin: call a release by its digest" },
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

function CreateModal({ project, close, done }: { project: string; close: () => void; done: (made: NewSecret) => void }) {
  const [name, setName] = useState("");
  const [scopes, setScopes] = useState<string[]>(["data"]);
  const [days, setDays] = useState("");
  const [content, setContent] = useState<ApiKey["content"]>("full");
  const [team, setTeam] = useState("");
  const [models, setModels] = useState<string[]>([]);
  const create = useMutation({
    mutationFn: () => createKey(project, { name: name.trim(), scopes, content, read_only: false, team: team === "" ? null : team, models: models.length === 0 ? null : models, expires_at: days === "" ? null : new Date(Date.now() + Number(days) * 86_400_000).toISOString() }),
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
        <TeamAndModels project={project} team={team} setTeam={setTeam} models={models} setModels={setModels} />
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

function TeamAndModels({ project, team, setTeam, models, setModels }: { project: string; team: string; setTeam: (team: string) => void; models: string[]; setModels: (models: string[]) => void }) {
  const teams = useQuery(teamsQuery(project));
  const routed = useQuery(routedModelsQuery(project));
  return (
    <>
      <Autocomplete size="xs" label="Team" description="Whose limits and budgets hold for it too; empty: none" data={(teams.data ?? []).map((each) => each.name)} value={team} onChange={setTeam} maxLength={63} />
      <TagsInput size="xs" label="Only these models" description="Names or patterns such as openai/gpt-*; empty: everything" data={(routed.data ?? []).map((model) => model.name)} value={models} onChange={setModels} maxTags={100} />
    </>
  );
}

function ChangeModal({ project, apiKey, close, done }: { project: string; apiKey: ApiKey; close: () => void; done: () => void }) {
  const [team, setTeam] = useState(apiKey.team);
  const [models, setModels] = useState(apiKey.models);
  const change = useMutation({ mutationFn: () => changeKey(project, apiKey.id, { team, models, labels: null }), onSuccess: done });
  return (
    <Modal opened onClose={close} title={`Team and models of ${apiKey.name}`}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          change.mutate();
        }}
        style={{ display: "grid", gap: 14 }}
      >
        <Failure error={change.error} />
        <TeamAndModels project={project} team={team} setTeam={setTeam} models={models} setModels={setModels} />
        <div style={{ display: "flex", justifyContent: "flex-end", gap: 8 }}>
          <Button variant="default" onClick={close}>
            Cancel
          </Button>
          <Button type="submit" loading={change.isPending}>
            Save
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
