import { Button, Menu, Progress } from "@mantine/core";
import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { IconChevronDown, IconMicroscope } from "@tabler/icons-react";
import { useState } from "react";
import { reproduce, reproductionQuery, reproductionsQuery, underway, type Reproduction, type ReproductionDetail } from "@/api/reproductions";
import { Chip, type Tone } from "@/kit/Chips";
import { Failure } from "@/kit/Failure";
import { newKey } from "@/kit/key";
import { bytes, count, plural, shortDigest } from "@/kit/format";
import kit from "@/kit/kit.module.css";
import { More } from "@/kit/Lists";
import { Facts, Panel, Scroll } from "@/kit/Page";
import { EmptyState, ErrorState, Loading } from "@/kit/States";
import { Ago } from "@/kit/time";
import css from "./releases.module.css";

const STATES: Record<string, Tone> = { proven: "good", same: "good", done: "good", differs: "bad", failed: "bad", missing: "bad", erased: "bad", cannot: "warn", not_tried: "neutral", queued: "neutral", running: "accent", cancelled: "neutral" };
const CAPS: Record<string, string> = {
  R1: "R1: recorded requests give the same bytes on the same engine",
  R2: "R2: a provider's machine answers, so that only statistics can be had again",
  none: "below R0: a part of it was erased",
};
const FROM_TRACES = 20;

/** Whether this release still is what it was: what was proven of it, level by level, and a way to prove it anew. */
export function ReproductionPanel({ project, digest }: { project: string; digest: string }) {
  const queries = useQueryClient();
  const query = useInfiniteQuery(reproductionsQuery(project, digest));
  const found = query.data?.pages.flatMap((page) => page.items) ?? [];
  const [chosen, setChosen] = useState("");
  const shown = chosen !== "" ? chosen : (found[0]?.id ?? "");
  const start = useMutation({
    mutationFn: (what: { level?: "R0" | "R1"; record?: boolean; from_traces?: number }) => reproduce(project, digest, { ...what, key: newKey() }),
    onSuccess: (made) => {
      setChosen(made.id);
      void queries.invalidateQueries({ queryKey: ["reproductions", project, digest] });
    },
  });
  return (
    <div className={css.stack}>
      <Panel
        title="Reproduction"
        note="R0: everything is there, bit for bit; R1: recorded requests give the same bytes"
        side={
          <span className={css.chips}>
            <Button size="compact-sm" leftSection={<IconMicroscope size={13} />} loading={start.isPending} onClick={() => start.mutate({ level: "R0" })}>
              Prove R0
            </Button>
            <Menu position="bottom-end">
              <Menu.Target>
                <Button variant="default" size="compact-sm" rightSection={<IconChevronDown size={13} />} disabled={start.isPending}>
                  R1
                </Button>
              </Menu.Target>
              <Menu.Dropdown>
                <Menu.Item onClick={() => start.mutate({ level: "R1" })}>Execute the newest recording again</Menu.Item>
                <Menu.Item onClick={() => start.mutate({ record: true, from_traces: FROM_TRACES })}>Record the newest {FROM_TRACES} requests of its traces</Menu.Item>
              </Menu.Dropdown>
            </Menu>
          </span>
        }
        flush
      >
        {start.error !== null && (
          <div className={css.none}>
            <Failure error={start.error} />
          </div>
        )}
        {query.data === undefined ? (
          query.isError ? (
            <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} />
          ) : (
            <Loading />
          )
        ) : found.length === 0 ? (
          <EmptyState title="Nobody has tried to reproduce this release yet">R0 reads every part from where it is stored and hashes it anew. R1 executes recorded requests on an engine of its own; record them first.</EmptyState>
        ) : (
          <>
            <List found={found} shown={shown} choose={setChosen} />
            <More has={query.hasNextPage} busy={query.isFetchingNextPage} load={() => void query.fetchNextPage()} what="older ones" />
          </>
        )}
      </Panel>
      {shown !== "" && <Report project={project} digest={digest} id={shown} />}
    </div>
  );
}

function what(each: Pick<Reproduction, "action" | "level">): string {
  return each.action === "record" ? "recording" : each.level === "" ? "reproduction" : each.level;
}

function List({ found, shown, choose }: { found: readonly Reproduction[]; shown: string; choose: (id: string) => void }) {
  return (
    <Scroll label="Reproductions">
      <table className={kit.table}>
        <thead>
          <tr>
            <th scope="col">What</th>
            <th scope="col">State</th>
            <th scope="col">Proven</th>
            <th scope="col">Asked</th>
            <th scope="col">Ended</th>
            <th scope="col">Report</th>
          </tr>
        </thead>
        <tbody>
          {found.map((each) => (
            <tr key={each.id}>
              <td>
                <button type="button" className={css.open} aria-current={each.id === shown ? "true" : undefined} onClick={() => choose(each.id)}>
                  {what(each)}
                </button>
                {each.id === shown && <span className="dim"> shown</span>}
              </td>
              <td>
                <Chip tone={STATES[each.state] ?? "neutral"}>{each.state}</Chip>
              </td>
              <td>{each.proven.join(", ") || <span className="dim">{each.action === "record" ? "–" : underway(each) ? "…" : "nothing"}</span>}</td>
              <td className={css.when}>
                <Ago at={each.created_at} /> by {each.created_by}
              </td>
              <td className={css.when}>{each.ended_at === null ? <span className="dim">–</span> : <Ago at={each.ended_at} />}</td>
              <td className="mono">{each.report === "" ? <span className="dim">–</span> : shortDigest(each.report, 12)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

function Report({ project, digest, id }: { project: string; digest: string; id: string }) {
  const query = useQuery(reproductionQuery(project, digest, id));
  const shown = query.data;
  return (
    <Panel title="What was found" note={shown ? `${what(shown)}, asked by ${shown.created_by}` : undefined}>
      {shown === undefined ? query.isError ? <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} /> : <Loading rows={4} /> : <Found shown={shown} />}
    </Panel>
  );
}

function Found({ shown }: { shown: ReproductionDetail }) {
  const { progress } = shown;
  return (
    <div className={css.stack}>
      {underway(shown) && (
        <div role="status" className={css.stack} style={{ gap: 6 }}>
          <span>
            {shown.state === "queued" ? "Waits for the worker" : progress !== null && progress.message !== "" ? progress.message : "At work"}
            {progress && progress.total > 0 && `, ${count(progress.done)} of ${count(progress.total)}`}
          </span>
          <Progress value={progress && progress.total > 0 ? (100 * progress.done) / progress.total : 100} animated={!progress || progress.total === 0} aria-label="Progress" />
        </div>
      )}
      {shown.error !== "" && (
        <p className={css.bad}>
          {shown.error}
          {shown.hint !== "" && <span className="dim"> ({shown.hint})</span>}
        </p>
      )}
      {!underway(shown) && (
        <Facts
          items={[
            ["Highest level", shown.cap === "" ? "" : (CAPS[shown.cap] ?? shown.cap)],
            ["Report", shown.report === "" ? "" : <span key="r" className="mono">{shown.report}</span>],
            ["Signed statement", shown.evidence === "" ? "" : <span key="e" className="mono">{shown.evidence}</span>],
            ["Recording", shown.recording === "" ? "" : <span key="c" className="mono">{shown.recording}</span>],
            ["Not comparable", shown.incomparable.join("; ")],
          ]}
        />
      )}
      {shown.levels.length > 0 && (
        <ul className={css.levels} aria-label="Levels">
          {shown.levels.map((level) => (
            <li key={level.level}>
              <strong>{level.level}</strong> <Chip tone={STATES[level.state] ?? "neutral"}>{level.state.replace("_", " ")}</Chip> <span>{level.reason}</span>
            </li>
          ))}
        </ul>
      )}
      {shown.parts.length > 0 && (
        <Scroll label="Parts that were read again">
          <table className={kit.table}>
            <thead>
              <tr>
                <th scope="col">Part</th>
                <th scope="col">State</th>
                <th scope="col" className={kit.right}>
                  Size
                </th>
                <th scope="col">What was found</th>
              </tr>
            </thead>
            <tbody>
              {shown.parts.map((part) => (
                <tr key={`${part.kind} ${part.role} ${part.digest}`}>
                  <td className={css.says}>
                    <span className="dim">{part.kind}</span> {part.name || shortDigest(part.digest, 12)}
                    {part.role !== "" && <span className="dim"> {part.role}</span>}
                  </td>
                  <td>
                    <Chip tone={STATES[part.state] ?? "neutral"}>{part.state}</Chip>
                  </td>
                  <td className={kit.right}>{part.bytes > 0 ? bytes(part.bytes) : part.items > 0 ? plural(part.items, "item") : "–"}</td>
                  <td className={css.says}>{[part.detail, ...part.problems].filter(Boolean).join("; ")}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
      {shown.requests.length > 0 && (
        <Scroll label="Requests that were executed again">
          <table className={kit.table}>
            <thead>
              <tr>
                <th scope="col" className={kit.right}>
                  Request
                </th>
                <th scope="col">State</th>
                <th scope="col">What differs</th>
              </tr>
            </thead>
            <tbody>
              {shown.requests.map((request) => (
                <tr key={request.number}>
                  <td className={kit.right}>{request.number}</td>
                  <td>
                    <Chip tone={STATES[request.state] ?? "neutral"}>{request.state}</Chip>
                  </td>
                  <td className={css.says}>{request.detail || <span className="dim">nothing</span>}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
    </div>
  );
}
