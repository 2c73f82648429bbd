import { ActionIcon, Button, FileButton, MultiSelect, TagsInput, Textarea, TextInput, Tooltip } from "@mantine/core";
import { useSessionStorage } from "@mantine/hooks";
import { useQueries, useQuery } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { IconCode, IconDatabasePlus, IconEraser, IconLink, IconPhoto, IconPlayerStop, IconRefresh, IconSend, IconX } from "@tabler/icons-react";
import { useEffect, useRef, useState } from "react";
import { appsQuery, releaseQuery, type App } from "@/api/apps";
import { routedModelsQuery, routesQuery, type ModelRoute, type RoutedModel } from "@/api/gateway";
import { answer, control } from "@/api/http";
import type { ReleaseListed } from "@/api/releases";
import { readValues } from "@/features/prompts/inputs";
import { Chip } from "@/kit/Chips";
import { Failure } from "@/kit/Failure";
import { shortDigest } from "@/kit/format";
import { Page, Panel } from "@/kit/Page";
import { CodeModal, RowModal } from "./Modals";
import { IMAGE_TYPES, messagesOf, MOST_IMAGE_BYTES, MOST_IMAGES, NO_PARAMS, paramsOf, readJson, releaseOf, type Draft, type Said } from "./calls";
import { Figures } from "./Figures";
import css from "./playground.module.css";
import { isUnderWay, useRuns, type Run } from "./runs";
import { MOST_TARGETS, targetsIn } from "./search";

const route = getRouteApi("/signed-in/p/$project/playground");
/** The newest releases of so many apps are offered. */
const APPS_LOOKED_INTO = 20;

interface Settings {
  system: string;
  params: Draft;
  variables: Record<string, string>;
}

const NOTHING: Settings = { system: "", params: NO_PARAMS, variables: {} };

/** Up to four models, routes, apps or releases answer the same conversation side by side. */
export function PlaygroundPage() {
  const { project } = route.useParams();
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const [settings, setSettings] = useSessionStorage<Settings>({ key: `tetrad.playground.${project}`, defaultValue: NOTHING, getInitialValueInEffect: false });
  const [turns, setTurns] = useState<Said[]>([]);
  const [asked, setAsked] = useState(false);
  const [modal, setModal] = useState<"code" | "row" | null>(null);
  const { runs, busy, start, stop, clear } = useRuns(project);
  const choice = useChoice(project);
  const targets = search.with === undefined ? choice.standard : targetsIn(search.with);
  const variables = useVariables(project, targets, choice.apps);
  const read = readValues(variables.all, settings.variables);
  const { params, problems } = paramsOf(settings.params);
  const wrong = Object.keys(problems).length > 0 || Object.keys(read.problems).length > 0;
  const set = (change: Partial<Settings>): void => setSettings((before) => ({ ...before, ...change }));

  const call = (target: string, said: readonly Said[]) => {
    const own = variables.of(target);
    return {
      model: target,
      messages: messagesOf(settings.system, said, (turn) => answerOf(runs[idOf(turn, target)])),
      params,
      variables: Object.fromEntries(Object.entries(read.values).filter(([name]) => own.has(name))),
    };
  };
  const ask = (said: Said): void => {
    setAsked(true);
    if (wrong || targets.length === 0) return;
    const next = [...turns, said];
    setTurns(next);
    start(targets.map((target) => ({ id: idOf(next.length - 1, target), body: call(target, next) })));
  };
  const again = (target: string): void => start([{ id: idOf(turns.length - 1, target), body: call(target, turns) }]);
  const restart = (): void => {
    clear();
    setTurns([]);
    setAsked(false);
  };
  const first = targets[0];
  return (
    <Page
      title="Playground"
      side={
        <>
          <Button variant="default" leftSection={<IconCode size={14} />} disabled={first === undefined || turns.length === 0} onClick={() => setModal("code")}>
            Code
          </Button>
          <Button variant="default" leftSection={<IconDatabasePlus size={14} />} disabled={turns.length === 0} onClick={() => setModal("row")}>
            Save as row
          </Button>
          <Button variant="default" leftSection={<IconEraser size={14} />} disabled={turns.length === 0} onClick={restart}>
            Start again
          </Button>
        </>
      }
    >
      <div className={css.layout}>
        <Panel title="Settings">
          <div className={css.settings}>
            {choice.error !== null && <Failure error={choice.error} />}
            <MultiSelect
              size="xs"
              label="Answer with"
              description={`Up to ${MOST_TARGETS} models, routes, apps or releases`}
              placeholder={targets.length === 0 ? "Choose what answers" : undefined}
              data={choice.groups(targets)}
              value={targets}
              onChange={(next) => void navigate({ search: next.length === 0 ? {} : { with: next.join(",") }, replace: true })}
              maxValues={MOST_TARGETS}
              searchable
              hidePickedOptions
              maxDropdownHeight={340}
            />
            <Textarea size="xs" label="System message" description={targets.some((target) => releaseOf(target, choice.apps) !== "") ? "Stands behind that of the app's prompt" : "What holds for the whole conversation"} autosize minRows={2} maxRows={12} value={settings.system} onChange={(event) => set({ system: event.currentTarget.value })} />
            {variables.all.map((variable) => (
              <Textarea
                key={variable.name}
                size="xs"
                autosize
                minRows={1}
                maxRows={8}
                label={variable.name}
                description={[variable.type, variable.description].filter(Boolean).join(", ")}
                placeholder={variable.required ? "" : `${typeof variable.default === "string" ? variable.default : JSON.stringify(variable.default)} (default)`}
                withAsterisk={variable.required}
                value={settings.variables[variable.name] ?? ""}
                error={asked ? read.problems[variable.name] : undefined}
                onChange={(event) => set({ variables: { ...settings.variables, [variable.name]: event.currentTarget.value } })}
              />
            ))}
            <Params draft={settings.params} problems={problems} set={(change) => set({ params: { ...settings.params, ...change } })} />
          </div>
        </Panel>
        <div className={css.talk}>
          {turns.length === 0 && <Start choosing={targets.length === 0} nothing={choice.ready && choice.standard.length === 0} />}
          {turns.map((said, turn) => (
            <article key={turn} className={css.turn} aria-label={`Turn ${turn + 1}`}>
              <UserSaid said={said} />
              <div className={css.answers}>
                {shownIn(turn, targets, runs).map((target) => (
                  <Answer
                    key={target}
                    project={project}
                    target={target}
                    run={runs[idOf(turn, target)]}
                    json={params.response_format !== undefined}
                    stop={() => stop(idOf(turn, target))}
                    again={turn === turns.length - 1 && targets.includes(target) ? () => again(target) : undefined}
                  />
                ))}
              </div>
            </article>
          ))}
          <Composer busy={busy} blocked={targets.length === 0} stop={() => stop()} ask={ask} first={turns.length === 0} />
          {asked && wrong && (
            <p className={css.error} role="alert">
              Something in the settings needs another look.
            </p>
          )}
        </div>
      </div>
      {modal === "code" && first !== undefined && <CodeModal targets={targets} call={(target) => call(target, turns)} close={() => setModal(null)} />}
      {modal === "row" && <RowModal project={project} call={call(first ?? "", turns)} close={() => setModal(null)} />}
    </Page>
  );
}

function idOf(turn: number, target: string): string {
  return `${turn} ${target}`;
}

function answerOf(run: Run | undefined): string | undefined {
  return run === undefined || run.text === "" ? undefined : run.text;
}

/** Those that are chosen now, and those that answered then. */
function shownIn(turn: number, targets: readonly string[], runs: Readonly<Record<string, Run>>): string[] {
  const answered = Object.keys(runs).flatMap((id) => (id.startsWith(`${turn} `) ? [id.slice(`${turn} `.length)] : []));
  const chosen = targets.filter((target) => answered.includes(target));
  return [...chosen, ...answered.filter((target) => !chosen.includes(target))];
}

interface Choice {
  apps: App[];
  standard: string[];
  ready: boolean;
  error: unknown;
  groups: (chosen: readonly string[]) => { group: string; items: { value: string; label: string }[] }[];
}

/** All that may answer: apps by their refs, routes, models, and the newest releases. */
function useChoice(project: string): Choice {
  const apps = useQuery(appsQuery(project));
  const routes = useQuery(routesQuery(project));
  const models = useQuery(routedModelsQuery(project));
  const releases = useQueries({
    queries: (apps.data ?? []).slice(0, APPS_LOOKED_INTO).map((app) => ({
      queryKey: ["newest-releases", project, app.name],
      queryFn: async ({ signal }: { signal: AbortSignal }) => (await answer(control.GET("/api/v1/projects/{project}/apps/{app}/releases", { params: { path: { project, app: app.name }, query: { limit: 20 } }, signal }))).items,
      staleTime: 30_000,
    })),
  });
  const all = optionsOf(apps.data ?? [], routes.data ?? [], models.data ?? [], releases.map((each) => each.data ?? []));
  const standard = all.find((group) => group.items.length > 0)?.items[0]?.value;
  return {
    apps: apps.data ?? [],
    standard: standard === undefined ? [] : [standard],
    ready: apps.data !== undefined && routes.data !== undefined && models.data !== undefined,
    error: apps.error ?? routes.error ?? models.error,
    groups: (chosen) => {
      const known = new Set(all.flatMap((group) => group.items.map((item) => item.value)));
      const others = chosen.filter((target) => !known.has(target)).map((value) => ({ value, label: value }));
      return [...all, ...(others.length > 0 ? [{ group: "Others", items: others }] : [])].filter((group) => group.items.length > 0);
    },
  };
}

function optionsOf(apps: App[], routes: ModelRoute[], models: RoutedModel[], releases: ReleaseListed[][]) {
  const named = (value: string) => ({ value, label: value });
  const taken = new Set(routes.flatMap((each) => [each.name, ...each.aliases]));
  return [
    { group: "Apps", items: apps.flatMap((app) => app.refs.map((ref) => named(ref.name === app.default_ref ? `app:${app.name}` : `app:${app.name}@${ref.name}`))) },
    { group: "Routes", items: routes.flatMap((each) => [each.name, ...each.aliases]).map(named) },
    { group: "Models", items: models.filter((model) => model.kinds.includes("chat") && !taken.has(model.name)).map((model) => named(model.name)) },
    { group: "Releases", items: apps.flatMap((app, i) => (releases[i] ?? []).map((each) => ({ value: `app:${app.name}@${each.digest}`, label: `${app.name} ${shortDigest(each.digest)}` }))) },
  ];
}

function useVariables(project: string, targets: readonly string[], apps: readonly App[]) {
  const digests = targets.map((target) => releaseOf(target, apps));
  const found = useQueries({ queries: digests.map((digest) => releaseQuery(project, digest)) });
  const each = found.map((query) => (query.data?.prompt ?? []).flatMap((part) => part.variables));
  const all = [...new Map(each.flat().map((variable) => [variable.name, variable])).values()];
  return { all, of: (target: string) => new Set((each[targets.indexOf(target)] ?? []).map((variable) => variable.name)) };
}

function Params({ draft, problems, set }: { draft: Draft; problems: Record<string, string>; set: (change: Partial<Draft>) => void }) {
  const number = (field: "temperature" | "top_p" | "max_tokens" | "seed", label: string) => <TextInput label={label} inputMode="decimal" placeholder="not sent" value={draft[field]} error={problems[field]} onChange={(event) => set({ [field]: event.currentTarget.value })} />;
  return (
    <>
      <div className={css.pair}>
        {number("max_tokens", "Tokens, at most")}
        {number("temperature", "Temperature")}
        {number("top_p", "Top p")}
        {number("seed", "Seed")}
      </div>
      <details className={css.more} open={draft.schema !== "" || draft.stop.length > 0}>
        <summary>Answer as JSON, stop words</summary>
        <div className={css.settings}>
          <Textarea size="xs" label="JSON schema of the answer" description="Empty: plain text" placeholder={'{"type": "object", …}'} autosize minRows={3} maxRows={14} value={draft.schema} error={problems.schema} onChange={(event) => set({ schema: event.currentTarget.value })} styles={{ input: { fontFamily: "var(--mantine-font-family-monospace)" } }} />
          <TagsInput size="xs" label="Stop at" description="Up to four texts" value={draft.stop} error={problems.stop} onChange={(stop) => set({ stop })} />
        </div>
      </details>
    </>
  );
}

function Start({ choosing, nothing }: { choosing: boolean; nothing: boolean }) {
  return (
    <div className={css.start}>
      <h2>{nothing ? "Nothing here can answer yet" : choosing ? "Choose what answers" : "Ask something"}</h2>
      <p>{nothing ? "Add a provider under Gateway, or wait until the engine of this installation is ready." : "Every model gets the same message and goes on with its own answers. Calls go through the gateway like any other: they are priced, limited and traced."}</p>
    </div>
  );
}

function UserSaid({ said }: { said: Said }) {
  return (
    <div className={css.user}>
      <span className="unseen">You: </span>
      {said.text}
      {said.images.length > 0 && (
        <span className={css.images}>
          {said.images.map((image, i) => (
            <Picture key={i} image={image} />
          ))}
        </span>
      )}
    </div>
  );
}

/** A picture that was sent along; one from elsewhere is told by its address, since pages here load nothing from elsewhere. */
function Picture({ image, remove }: { image: string; remove?: () => void }) {
  const own = image.startsWith("data:");
  return (
    <span className={css.image}>
      {own ? <img src={image} alt="Sent along" /> : <span className="cut" title={image}>{image}</span>}
      {remove && (
        <ActionIcon size="xs" aria-label={`Leave out ${own ? "the picture" : image}`} onClick={remove}>
          <IconX size={12} />
        </ActionIcon>
      )}
    </span>
  );
}

function Answer({ project, target, run, json, stop, again }: { project: string; target: string; run: Run | undefined; json: boolean; stop: () => void; again: (() => void) | undefined }) {
  if (run === undefined) return null;
  const label = target.replace(/sha256:([0-9a-f]{8})[0-9a-f]+/, "$1");
  const underWay = isUnderWay(run);
  return (
    <section className={css.answer} aria-label={`Answer of ${target}`}>
      <header>
        <h3 className="cut mono" title={target}>
          {label}
        </h3>
        {run.state === "waiting" && <span className="dim">waiting…</span>}
        {json && run.state === "done" && run.text !== "" && (readJson(run.text) === undefined ? <Chip tone="warn">not JSON</Chip> : <Chip tone="good">JSON</Chip>)}
        {underWay ? (
          <Button variant="default" size="compact-xs" leftSection={<IconPlayerStop size={12} />} onClick={stop} aria-label={`Stop ${target}`}>
            Stop
          </Button>
        ) : (
          again && (
            <Tooltip label="Ask again">
              <ActionIcon size="sm" aria-label={`Ask ${target} again`} onClick={again}>
                <IconRefresh size={14} />
              </ActionIcon>
            </Tooltip>
          )
        )}
      </header>
      {run.problem && <Failure error={run.problem} />}
      <div className={css.said} aria-live="polite" aria-busy={underWay ? undefined : false}>
        {run.text.trimStart()}
      </div>
      {run.unused.length > 0 && <p className="dim">It has no variable {run.unused.join(", ")}; what was given for it is left out.</p>}
      <Figures run={run} project={project} />
    </section>
  );
}

function Composer({ busy, blocked, first, ask, stop }: { busy: boolean; blocked: boolean; first: boolean; ask: (said: Said) => void; stop: () => void }) {
  const [text, setText] = useState("");
  const [images, setImages] = useState<string[]>([]);
  const [address, setAddress] = useState<string | null>(null);
  const [problem, setProblem] = useState("");
  const field = useRef<HTMLTextAreaElement>(null);
  useEffect(() => field.current?.focus(), []);
  const empty = text.trim() === "" && images.length === 0;
  const send = (): void => {
    if (empty || blocked || busy) return;
    ask({ text, images });
    setText("");
    setImages([]);
    setProblem("");
  };
  const add = (image: string): void => {
    setProblem("");
    setImages((before) => [...new Set([...before, image])].slice(0, MOST_IMAGES));
  };
  const upload = (files: File[]): void => {
    for (const file of files) {
      if (!IMAGE_TYPES.includes(file.type)) setProblem(`“${file.name}” is no PNG, JPEG, WebP or GIF`);
      else if (file.size > MOST_IMAGE_BYTES) setProblem(`“${file.name}” is larger than ${MOST_IMAGE_BYTES / 1024 / 1024} MiB: send a smaller one, or its address`);
      else {
        const reader = new FileReader();
        reader.onload = () => typeof reader.result === "string" && add(reader.result);
        reader.onerror = () => setProblem(`“${file.name}” could not be read`);
        reader.readAsDataURL(file);
      }
    }
  };
  return (
    <form
      className={css.composer}
      aria-label="Message"
      onSubmit={(event) => {
        event.preventDefault();
        if (busy) stop();
        else send();
      }}
    >
      <Textarea
        ref={field}
        size="sm"
        variant="unstyled"
        autosize
        minRows={2}
        maxRows={14}
        aria-label="Your message"
        placeholder={first ? "Your message… (Enter sends, Shift Enter begins a line)" : "Go on…"}
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === "Enter" && !event.shiftKey && !event.nativeEvent.isComposing) {
            event.preventDefault();
            send();
          }
        }}
      />
      {images.length > 0 && (
        <div className={css.images}>
          {images.map((image) => (
            <Picture key={image} image={image} remove={() => setImages((before) => before.filter((each) => each !== image))} />
          ))}
        </div>
      )}
      {problem !== "" && (
        <p className={css.error} role="alert">
          {problem}
        </p>
      )}
      <div className={css.composerTools}>
        <FileButton onChange={upload} accept={IMAGE_TYPES.join(",")} multiple inputProps={{ "aria-label": "Pictures to send along" }}>
          {(props) => (
            <Tooltip label="Send a picture along">
              <ActionIcon aria-label="Send a picture along" disabled={images.length >= MOST_IMAGES} {...props}>
                <IconPhoto size={17} />
              </ActionIcon>
            </Tooltip>
          )}
        </FileButton>
        <Tooltip label="Send a picture along by its address">
          <ActionIcon aria-label="Send a picture along by its address" aria-expanded={address !== null} disabled={images.length >= MOST_IMAGES} onClick={() => setAddress(address === null ? "" : null)}>
            <IconLink size={17} />
          </ActionIcon>
        </Tooltip>
        {address !== null && (
          <TextInput
            aria-label="Address of the picture"
            placeholder="https://…, then Enter"
            value={address}
            maxLength={4000}
            data-autofocus
            ref={(element) => element?.focus()}
            style={{ flex: 1, minWidth: 160 }}
            onChange={(event) => setAddress(event.currentTarget.value)}
            onKeyDown={(event) => {
              if (event.key !== "Enter") return;
              event.preventDefault();
              if (/^https?:\/\/[^\s]+$/.test(address.trim())) {
                add(address.trim());
                setAddress(null);
              } else setProblem("An address begins with https://");
            }}
          />
        )}
        {busy ? (
          <Button type="submit" variant="default" leftSection={<IconPlayerStop size={14} />}>
            Stop all
          </Button>
        ) : (
          <Button type="submit" leftSection={<IconSend size={14} />} disabled={empty || blocked}>
            Send
          </Button>
        )}
      </div>
    </form>
  );
}

