import { Tabs } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, type ReactNode } from "react";
import { spanQuery, type Span, type SpanRow } from "@/api/traces";
import { Chip, CodeMatchChip, StatusChip } from "@/kit/Chips";
import { CopyButton } from "@/kit/Copy";
import { betweenMs, count, duration, fullTime, money, nanosToMs } from "@/kit/format";
import { ErrorState, Loading } from "@/kit/States";
import { Conversation } from "./Conversation";
import css from "./trace.module.css";

const JsonView = lazy(() => import("@/kit/JsonView"));

type Tab = "attributes" | "raw" | undefined;

/** What a span says about itself; its content is fetched when it is chosen. */
export function SpanDetail({ project, row, tab, onTab }: { project: string; row: SpanRow; tab: Tab; onTab: (tab: Tab) => void }) {
  const query = useQuery(spanQuery(project, row.trace_id, row.span_id, row.start_ns));
  const first = row.first_chunk_ns !== "0" && row.first_chunk_ns !== "" ? betweenMs(row.start_ns, row.first_chunk_ns) : null;
  const body = (show: (span: Span) => ReactNode): ReactNode =>
    query.data ? show(query.data) : query.isError ? <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} /> : <Loading rows={6} />;
  return (
    <section className={css.detail} aria-label={`Span ${row.name}`}>
      <header className={css.detailHead}>
        <h2 className="cut">{row.name}</h2>
        <StatusChip status={row.status} />
        {row.operation !== "" && <Chip>{row.operation}</Chip>}
        {row.stream && <Chip>stream</Chip>}
        {row.attempt > 1 && <Chip tone="warn">attempt {row.attempt}</Chip>}
        <CodeMatchChip match={row.code_match} />
        <span className={css.spanId}>
          <span className="mono dim">{row.span_id}</span>
          <CopyButton value={row.span_id} what="span id" size="xs" />
        </span>
      </header>
      {row.status === "error" && (
        <p className={css.spanError} role="note">
          <strong>{row.error_type || (row.http_status > 0 ? `HTTP ${row.http_status}` : "Error")}</strong> {row.status_message}
        </p>
      )}
      <dl className={css.facts}>
        <div>
          <dt>Duration</dt>
          <dd>{duration(betweenMs(row.start_ns, row.end_ns))}</dd>
        </div>
        {first !== null && (
          <div>
            <dt>First token</dt>
            <dd>{duration(first)}</dd>
          </div>
        )}
        {row.usage && <TokenFact usage={row.usage} />}
        {row.usage && (
          <div>
            <dt>Cost</dt>
            <dd>{row.cost === null ? "unknown" : money(row.cost, row.currency)}</dd>
          </div>
        )}
        {row.finish_reasons.length > 0 && (
          <div>
            <dt>Finished by</dt>
            <dd>{row.finish_reasons.join(", ")}</dd>
          </div>
        )}
      </dl>
      <Tabs value={tab ?? "conversation"} onChange={(value) => onTab(value === "attributes" || value === "raw" ? value : undefined)} keepMounted={false} className={css.tabs}>
        <Tabs.List>
          <Tabs.Tab value="conversation">Conversation</Tabs.Tab>
          <Tabs.Tab value="attributes">Attributes</Tabs.Tab>
          <Tabs.Tab value="raw">Raw JSON</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="conversation" className={css.tabBody}>
          {body((span) => (
            <Conversation span={span} />
          ))}
        </Tabs.Panel>
        <Tabs.Panel value="attributes" className={css.tabBody}>
          {body((span) => (
            <Attributes span={span} />
          ))}
        </Tabs.Panel>
        <Tabs.Panel value="raw" className={css.tabBody}>
          {body((span) => (
            <Suspense fallback={<Loading rows={8} />}>
              <JsonView value={span} name={`span-${span.span_id}`} />
            </Suspense>
          ))}
        </Tabs.Panel>
      </Tabs>
    </section>
  );
}

function TokenFact({ usage }: { usage: NonNullable<SpanRow["usage"]> }) {
  const parts = [
    ["input", usage.input],
    ["cache read", usage.cache_read],
    ["cache write", usage.cache_write],
    ["output", usage.output],
    ["reasoning", usage.reasoning],
  ] as const;
  return (
    <div>
      <dt>Tokens</dt>
      <dd>{parts.filter(([name, n]) => n > 0 || name === "input" || name === "output").map(([name, n]) => `${count(n)} ${name}`).join(" · ")}</dd>
    </div>
  );
}

/** Everything but the content, field by field; empty fields are left out. */
function Attributes({ span }: { span: Span }) {
  const known: [string, string][] = [
    ["service.name", span.service],
    ["span.kind", span.kind],
    ["start", `${fullTime(nanosToMs(span.start_ns))} (${span.start_ns} ns)`],
    ["end", `${fullTime(nanosToMs(span.end_ns))} (${span.end_ns} ns)`],
    ["gen_ai.operation.name", span.operation],
    ["gen_ai.provider.name", span.provider],
    ["gen_ai.request.model", span.request_model],
    ["gen_ai.response.model", span.response_model],
    ["http.response.status_code", span.http_status > 0 ? String(span.http_status) : ""],
    ["error.type", span.error_type],
    ["tetrad.app", span.app],
    ["tetrad.ref", span.ref],
    ["tetrad.release", span.release],
    ["tetrad.binding.digest", span.binding],
    ["tetrad.code", span.code_digest],
    ["gen_ai.prompt.name", span.prompt_name],
    ["gen_ai.prompt.version", span.prompt_version],
    ["session.id", span.session],
    ["user.id", span.user],
    ["tetrad.key", span.key_id],
  ];
  const rows = [...known.filter(([, value]) => value !== ""), ...Object.entries(span.attributes).sort(([a], [b]) => a.localeCompare(b))];
  return (
    <table className={css.attributes}>
      <thead className="unseen">
        <tr>
          <th scope="col">Name</th>
          <th scope="col">Value</th>
          <th scope="col">Copy</th>
        </tr>
      </thead>
      <tbody>
        {rows.map(([name, value], i) => (
          <tr key={`${name}-${i}`}>
            <th scope="row">{name}</th>
            <td>{value}</td>
            <td>
              <CopyButton value={value} what={name} size="xs" />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
