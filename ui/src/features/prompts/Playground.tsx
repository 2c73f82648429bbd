import { Autocomplete, Button, NumberInput, Select, Textarea, TextInput } from "@mantine/core";
import { useSessionStorage } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { IconPlayerPlay, IconPlayerStop } from "@tabler/icons-react";
import { useEffect, useRef, useState } from "react";
import { control, answer } from "@/api/http";
import { runPlayground, type PlaygroundBody } from "@/api/playground";
import { asProblem, type ApiProblem } from "@/api/problem";
import type { PromptVariable } from "@/api/prompts";
import type { Usage } from "@/api/stream";
import { traceQuery } from "@/api/traces";
import { count, duration, money } from "@/kit/format";
import { Panel } from "@/kit/Page";
import { Failure } from "@/kit/Failure";
import { inputsOfRow, NO_INPUTS, readValues, type Inputs } from "./inputs";
import css from "./prompts.module.css";
import type { Use } from "./uses";

/** One of the texts that are compared. */
export interface Contender {
  title: string;
  text: string;
}

interface Run {
  state: "waiting" | "running" | "done" | "stopped";
  text: string;
  trace_id: string;
  usage: Usage | null;
  finish: string;
  unused: string[];
  first_ms: number | null;
  total_ms: number | null;
  problem: ApiProblem | null;
}

const FRESH: Run = { state: "waiting", text: "", trace_id: "", usage: null, finish: "", unused: [], first_ms: null, total_ms: null, problem: null };

/** Runs the prompt as it was and as it is now on the app's own model, side by side. */
export function Playground({ project, name, contenders, variables, uses, blocked }: { project: string; name: string; contenders: Contender[]; variables: readonly PromptVariable[]; uses: Use[]; blocked: string }) {
  const [inputs, setInputs] = useSessionStorage<Inputs>({ key: `tetrad.play.${project}.${name}`, defaultValue: NO_INPUTS, getInitialValueInEffect: false });
  const [chosen, setChosen] = useState<string | null>(null);
  const [most, setMost] = useState(160);
  const [asked, setAsked] = useState(false);
  const { runs, start, stop, busy } = useRuns(project);
  const routed = useQuery({
    queryKey: ["routed-models", project],
    queryFn: async ({ signal }) => (await answer(control.GET("/api/v1/models", { params: { query: { project } }, signal }))).items,
    staleTime: 60_000,
  });
  const targets = [...uses.map((use) => `app:${use.app}@${use.ref}`), ...(routed.data ?? []).filter((model) => model.kinds.includes("chat")).map((model) => model.name)];
  const model = chosen ?? targets[0] ?? "";
  const use = uses.find((u) => `app:${u.app}@${u.ref}` === model);
  const read = readValues(variables, inputs.values);
  const wrong = Object.keys(read.problems).length > 0;
  const run = (): void => {
    setAsked(true);
    if (wrong || blocked !== "" || model === "") return;
    const messages = inputs.message.trim() === "" ? [] : [{ role: "user", content: inputs.message }];
    start(contenders.map((each) => ({ title: each.title, body: { model, prompt: { name, text: each.text }, variables: read.values, messages, params: { max_tokens: most } } })));
  };
  return (
    <Panel title="Playground" note={use ? `${use.app}/${use.ref} answers${use.model === "" ? "" : ` with ${use.model}`}` : model !== "" ? `answered by ${model}` : undefined}>
      <div className={css.playgroundBox}>
        <form
          className={css.playground}
          onSubmit={(event) => {
            event.preventDefault();
            if (busy) stop();
            else run();
          }}
        >
          <div className={css.inputs}>
            <Autocomplete size="xs" label="Answer with" description="An app's ref brings its model, parameters and examples" data={[...new Set(targets)]} value={model} onChange={setChosen} required />
            <Rows project={project} variables={variables} use={(row) => setInputs(row)} />
            <Textarea size="xs" autosize minRows={2} maxRows={10} label="The user says" description="A message behind those of the prompt; may be empty" value={inputs.message} onChange={(event) => setInputs({ ...inputs, message: event.currentTarget.value })} />
            {variables.map((variable) => {
              const set = (value: string): void => setInputs({ ...inputs, values: { ...inputs.values, [variable.name]: value } });
              const standard = variable.required ? "" : typeof variable.default === "string" ? variable.default : JSON.stringify(variable.default);
              return (
                <Textarea
                  key={variable.name}
                  size="xs"
                  autosize
                  minRows={1}
                  maxRows={8}
                  label={variable.name}
                  description={[variable.type, variable.description].filter(Boolean).join(", ")}
                  placeholder={standard === "" ? "" : `${standard} (default)`}
                  required={variable.required}
                  withAsterisk={variable.required}
                  value={inputs.values[variable.name] ?? ""}
                  error={asked ? read.problems[variable.name] : undefined}
                  onChange={(event) => set(event.currentTarget.value)}
                />
              );
            })}
            <NumberInput size="xs" label="Tokens of the answer, at most" min={1} max={100_000} value={most} onChange={(value) => setMost(typeof value === "number" ? value : 160)} />
            <div className={css.run}>
              {busy ? (
                <Button type="submit" variant="default" leftSection={<IconPlayerStop size={14} />}>
                  Stop
                </Button>
              ) : (
                <Button type="submit" leftSection={<IconPlayerPlay size={14} />} disabled={blocked !== "" || model === ""}>
                  {contenders.length > 1 ? "Run both" : "Run"}
                </Button>
              )}
              {blocked !== "" && <p className={css.blocked}>{blocked}</p>}
            </div>
          </div>
          <div className={css.answers} data-two={contenders.length > 1}>
            {contenders.map((each, n) => (
              <Answer key={each.title} title={each.title} run={runs[n]} project={project} />
            ))}
          </div>
        </form>
      </div>
    </Panel>
  );
}

function Answer({ title, run, project }: { title: string; run: Run | undefined; project: string }) {
  return (
    <section className={css.answer} aria-label={`Answer: ${title}`}>
      <header>
        <h3>{title}</h3>
        {run?.state === "running" && <span className="dim">answering…</span>}
        {run?.state === "waiting" && <span className="dim">waiting for the first token…</span>}
        {run?.state === "stopped" && <span className="dim">stopped</span>}
      </header>
      {run === undefined ? (
        <p className="dim">Run it to see the answer here.</p>
      ) : (
        <>
          {run.problem && <Failure error={run.problem} />}
          <div className={css.said} aria-live="polite" aria-busy={run.state === "waiting" || run.state === "running" ? undefined : false}>
            {run.text.trimStart()}
          </div>
          {run.unused.length > 0 && <p className="dim">This prompt has no variable {run.unused.join(", ")}; what was given for it is left out.</p>}
          <Figures run={run} project={project} />
        </>
      )}
    </section>
  );
}

function Figures({ run, project }: { run: Run; project: string }) {
  // The price is known once the gateway has shipped the span; until then the place is held.
  const trace = useQuery({ ...traceQuery(project, run.trace_id), enabled: run.state === "done" && run.trace_id !== "", retry: 12, retryDelay: 700, staleTime: Number.POSITIVE_INFINITY });
  const cost = trace.data ? money(trace.data.trace.cost, trace.data.trace.currency) : "…";
  const items: [string, string][] = [
    ["First token", duration(run.first_ms)],
    ["Whole answer", duration(run.total_ms)],
    ["Tokens in", run.usage ? count(run.usage.input) : "–"],
    ["Tokens out", run.usage ? count(run.usage.output) : "–"],
    ["Cost", run.state === "done" && !trace.isError ? cost : "–"],
    ["Ended", run.finish === "length" ? "at the token limit" : run.finish || "–"],
  ];
  return (
    <footer className={css.figures}>
      <dl>
        {items.map(([label, value]) => (
          <div key={label}>
            <dt>{label}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      {trace.data && (
        <Link to="/p/$project/traces/$trace" params={{ project, trace: run.trace_id }} className="link">
          Trace
        </Link>
      )}
    </footer>
  );
}

/** Fills the inputs from a row of a dataset. */
function Rows({ project, variables, use }: { project: string; variables: readonly PromptVariable[]; use: (inputs: Inputs) => void }) {
  const [dataset, setDataset] = useState<string | null>(null);
  const [search, setSearch] = useState("");
  const datasets = useQuery({
    queryKey: ["dataset-names", project],
    queryFn: async ({ signal }) => (await answer(control.GET("/api/v1/projects/{project}/datasets", { params: { path: { project }, query: { limit: 100 } }, signal }))).items,
    staleTime: 30_000,
  });
  const rows = useQuery({
    queryKey: ["example-rows", project, dataset, search],
    queryFn: async ({ signal }) => (await answer(control.GET("/api/v1/projects/{project}/datasets/{name}/rows", { params: { path: { project, name: dataset ?? "" }, query: { limit: 30, q: search } }, signal }))).items,
    enabled: dataset !== null,
  });
  if (datasets.data?.length === 0) return null;
  return (
    <div className={css.rows}>
      <Select size="xs" label="Example from a dataset" placeholder="Choose a dataset" clearable data={(datasets.data ?? []).map((d) => d.name)} value={dataset} onChange={setDataset} />
      {dataset !== null && (
        <>
          <TextInput size="xs" aria-label="Search rows" placeholder="Search rows" value={search} maxLength={200} onChange={(event) => setSearch(event.currentTarget.value)} />
          <ul aria-label="Rows">
            {(rows.data ?? []).map((row) => {
              const filled = inputsOfRow(row.value, variables);
              const text = filled.message || JSON.stringify(row.value);
              return (
                <li key={`${row.key}-${row.digest}`}>
                  <button type="button" className="cut" title={text} onClick={() => use(filled)}>
                    {text}
                  </button>
                </li>
              );
            })}
          </ul>
          {rows.data?.length === 0 && <p className="dim">No row holds that.</p>}
          <Failure error={rows.error} />
        </>
      )}
    </div>
  );
}

/** Runs that go on at the same time; a new start, and leaving the page, end those before. */
function useRuns(project: string): { runs: Run[]; start: (bodies: { title: string; body: PlaygroundBody }[]) => void; stop: () => void; busy: boolean } {
  const [runs, setRuns] = useState<Run[]>([]);
  const current = useRef<AbortController | null>(null);
  useEffect(() => () => current.current?.abort(), []);
  const start = (bodies: { title: string; body: PlaygroundBody }[]): void => {
    current.current?.abort();
    const controller = new AbortController();
    current.current = controller;
    setRuns(bodies.map(() => FRESH));
    const change = (n: number, next: (run: Run) => Run): void => {
      if (current.current === controller) setRuns((before) => before.map((run, i) => (i === n ? next(run) : run)));
    };
    for (const [n, { body }] of bodies.entries()) {
      const began = performance.now();
      runPlayground(
        project,
        body,
        (told) => {
          const at = performance.now() - began;
          if (told.kind === "start") change(n, (run) => ({ ...run, trace_id: told.trace_id, unused: told.unused }));
          else if (told.kind === "text") change(n, (run) => ({ ...run, state: "running", text: run.text + told.text, first_ms: run.first_ms ?? at }));
          else if (told.kind === "usage") change(n, (run) => ({ ...run, usage: told.usage }));
          else if (told.kind === "finish") change(n, (run) => ({ ...run, finish: told.reason }));
          else change(n, (run) => ({ ...run, problem: told.problem }));
        },
        controller.signal,
      )
        .then(() => change(n, (run) => ({ ...run, state: "done", total_ms: performance.now() - began })))
        .catch((error: unknown) => {
          const stopped = controller.signal.aborted;
          change(n, (run) => ({ ...run, state: stopped ? "stopped" : "done", total_ms: performance.now() - began, problem: stopped ? null : asProblem(error) }));
        });
    }
  };
  const stop = (): void => current.current?.abort();
  return { runs, start, stop, busy: runs.some((run) => run.state === "waiting" || run.state === "running") };
}
