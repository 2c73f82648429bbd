import { Button, Modal, Tabs, Tooltip } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { keepPreviousData, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, Link, useBlocker } from "@tanstack/react-router";
import { IconChevronRight, IconGitPullRequest } from "@tabler/icons-react";
import { useState } from "react";
import { asProblem } from "@/api/problem";
import { promptCheckQuery, promptLabelsQuery, promptQuery, type Prompt, type PromptVariable } from "@/api/prompts";
import { Chip } from "@/kit/Chips";
import { Page, Panel } from "@/kit/Page";
import { ErrorState, Loading } from "@/kit/States";
import { Ago } from "@/kit/time";
import { Playground } from "./Playground";
import css from "./prompts.module.css";
import { ProposeModal, SaveModal } from "./Save";
import type { PromptSearch } from "./search";
import { useUses, type Use } from "./uses";
import { Compare, History } from "./Versions";
import { Workbench, type View } from "./Workbench";

const route = getRouteApi("/signed-in/p/$project/prompts/$prompt");

/** What a prompt that is not there yet begins with. */
function template(name: string): string {
  return `---\nname: ${name}\ndescription: What it is for, in one sentence.\nvariables:\n  topic:\n    type: string\n    description: what the answer is about\n---\n# system\n\nYou answer questions about {{topic}} in plain words.\n`;
}

/** One prompt: edit it, see it answer, propose it; its versions, and any two of them side by side. */
export function PromptPage() {
  const { project, prompt: name } = route.useParams();
  const search = route.useSearch();
  const query = useQuery(promptQuery(project, name, { version: search.version }));
  const missing = query.isError && asProblem(query.error).status === 404 && search.version === undefined;
  if (query.data) return <Loaded key={`${name} ${search.version ?? ""}`} project={project} name={name} kept={query.data} />;
  if (missing && search.new === "1") return <Loaded key={`${name} new`} project={project} name={name} kept={null} />;
  return (
    <Page title={name} heading={<Heading project={project} name={name} />}>
      <Panel label={name}>{query.isError ? <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} /> : <Loading rows={10} />}</Panel>
    </Page>
  );
}

function Heading({ project, name }: { project: string; name: string }) {
  return (
    <h1 className={css.title}>
      <Link to="/p/$project/prompts" params={{ project }} className="link">
        Prompts
      </Link>
      <IconChevronRight size={15} />
      {name}
    </h1>
  );
}

function Loaded({ project, name, kept }: { project: string; name: string; kept: Prompt | null }) {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const queries = useQueryClient();
  const base = kept?.text ?? "";
  const [text, setText] = useState(kept === null ? template(name) : base);
  const [act, setAct] = useState<"save" | "propose" | null>(null);
  const dirty = text !== base;
  const { uses } = useUses(project, name);
  const labels = useQuery({ ...promptLabelsQuery(project, name), enabled: kept !== null });
  const [asked] = useDebouncedValue(text, 350);
  const check = useQuery({ ...promptCheckQuery(project, name, asked), enabled: dirty, placeholderData: keepPreviousData });
  const error = dirty && !check.isPlaceholderData ? check.error : null;
  const variables: readonly PromptVariable[] = (dirty && check.data ? check.data.variables : kept?.variables) ?? [];
  const tab = search.tab ?? "edit";
  const blocker = useBlocker({
    shouldBlockFn: ({ current, next }) => dirty && next.pathname !== current.pathname,
    enableBeforeUnload: () => dirty,
    withResolver: true,
  });
  const set = (next: PromptSearch): void => void navigate({ search: next, replace: true });
  const settled = dirty && asked === text && !check.isPlaceholderData && check.data !== undefined && error === null;
  const why = !dirty ? "Change something first" : error !== null ? "Correct the fault first" : !settled ? "Being checked…" : "";
  const propose = (
    <Tooltip label={why || "No app pins this prompt yet: save it as a version"} disabled={why === "" && uses.length > 0}>
      <Button leftSection={<IconGitPullRequest size={14} />} data-disabled={!settled || uses.length === 0 || undefined} aria-disabled={!settled || uses.length === 0} onClick={() => settled && uses.length > 0 && setAct("propose")}>
        Propose change
      </Button>
    </Tooltip>
  );
  return (
    <Page
      title={name}
      heading={<Heading project={project} name={name} />}
      side={
        tab === "edit" && (
          <>
            {dirty && (
              <Button variant="subtle" color="gray" onClick={() => setText(base)}>
                Discard changes
              </Button>
            )}
            <Tooltip label={why} disabled={why === ""}>
              <Button variant="default" data-disabled={!settled || undefined} aria-disabled={!settled} onClick={() => settled && setAct("save")}>
                Save version
              </Button>
            </Tooltip>
            {propose}
          </>
        )
      }
    >
      <Facts kept={kept} old={search.version !== undefined} project={project} uses={uses} labels={(labels.data ?? []).filter((label) => label.digest === kept?.version.digest).map((label) => label.label)} dirty={dirty} />
      <Tabs value={tab} onChange={(value) => set({ ...(search.version ? { version: search.version } : {}), tab: value === "history" || value === "compare" ? value : undefined })}>
        <Tabs.List>
          <Tabs.Tab value="edit">Edit and run</Tabs.Tab>
          <Tabs.Tab value="history" disabled={kept === null}>
            Versions
          </Tabs.Tab>
          <Tabs.Tab value="compare" disabled={kept === null}>
            Compare
          </Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="edit" pt="md">
          {tab === "edit" && kept?.type !== "chain" && (
            <div className={css.stack}>
              <Workbench
                text={text}
                onChange={setText}
                view={search.view ?? "messages"}
                setView={(view: View) => set({ ...search, view: view === "messages" ? undefined : view })}
                check={{ checked: dirty ? check.data : undefined, error, late: dirty && (asked !== text || check.isFetching) }}
                variables={variables}
                dirty={dirty}
              />
              <Playground
                project={project}
                name={name}
                contenders={kept === null ? [{ title: "New prompt", text }] : dirty ? [{ title: `Version ${kept.version.semver}`, text: base }, { title: "Edited", text }] : [{ title: `Version ${kept.version.semver}`, text: base }]}
                variables={variables}
                uses={uses}
                blocked={error !== null ? "The prompt has a fault: correct it first." : ""}
              />
            </div>
          )}
          {tab === "edit" && kept?.type === "chain" && (
            <Workbench text={text} onChange={setText} view="file" setView={() => undefined} check={{ checked: dirty ? check.data : undefined, error, late: dirty && check.isFetching }} variables={variables} dirty={dirty} />
          )}
        </Tabs.Panel>
        <Tabs.Panel value="history" pt="md">
          {tab === "history" && <History project={project} name={name} />}
        </Tabs.Panel>
        <Tabs.Panel value="compare" pt="md">
          {tab === "compare" && <Compare project={project} name={name} from={search.from} to={search.to} />}
        </Tabs.Panel>
      </Tabs>
      {act === "save" && (
        <SaveModal
          project={project}
          name={name}
          text={text}
          expected={kept?.version.digest ?? ""}
          checked={check.data}
          close={() => setAct(null)}
          done={(made) => {
            setAct(null);
            setText(made.prompt.text);
            queries.setQueryData(promptQuery(project, name).queryKey, made.prompt);
            for (const key of ["prompts", "prompt-versions", "prompt-check"]) void queries.invalidateQueries({ queryKey: [key, project] });
            set({});
          }}
        />
      )}
      {act === "propose" && (
        <ProposeModal
          project={project}
          name={name}
          text={text}
          uses={uses}
          checked={check.data}
          close={() => setAct(null)}
          done={(made) => {
            setAct(null);
            void queries.invalidateQueries({ queryKey: ["changes", project] });
            // Nothing is lost: the change request holds the edit.
            void navigate({ to: "/p/$project/changes/$change", params: { project, change: String(made.number) }, search: {}, ignoreBlocker: true });
          }}
        />
      )}
      {blocker.status === "blocked" && (
        <Modal opened onClose={blocker.reset} title="Leave without saving?">
          <p style={{ marginTop: 0 }}>What you changed of {name} is in this page only. Leaving loses it.</p>
          <div className={css.buttons}>
            <Button variant="default" onClick={blocker.reset} data-autofocus>
              Stay
            </Button>
            <Button color="red" onClick={blocker.proceed}>
              Leave and lose it
            </Button>
          </div>
        </Modal>
      )}
    </Page>
  );
}

function Facts({ kept, old, project, uses, labels, dirty }: { kept: Prompt | null; old: boolean; project: string; uses: Use[]; labels: string[]; dirty: boolean }) {
  return (
    <div className={css.facts}>
      {kept === null ? <Chip tone="accent">new, not saved</Chip> : <Chip tone={old ? "warn" : "neutral"}>{old ? `version ${kept.version.semver}, not the newest` : `version ${kept.version.semver}`}</Chip>}
      {labels.map((label) => (
        <Chip key={label} tone="accent">
          {label}
        </Chip>
      ))}
      {dirty && kept !== null && <Chip tone="warn">unsaved changes</Chip>}
      {kept !== null && (
        <span className="dim">
          made <Ago at={kept.version.created_at} /> by {kept.version.created_by}
          {kept.version.reason !== "" && `: ${kept.version.reason}`}
        </span>
      )}
      {uses.length > 0 && (
        <span className={css.uses}>
          <span className="dim">used by</span>
          {uses.slice(0, 6).map((use) => (
            <Link key={`${use.app}/${use.ref}`} to="/p/$project/apps/$app" params={{ project, app: use.app }} className="link">
              {use.app}/{use.ref}
            </Link>
          ))}
        </span>
      )}
    </div>
  );
}
