import { Alert, Button, Select } from "@mantine/core";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { IconAlertTriangle, IconPlus, IconSchema } from "@tabler/icons-react";
import { useState } from "react";
import { routedModelsQuery } from "@/api/gateway";
import { modelAliasesQuery, modelPricesQuery, modelQuery, modelVersionsQuery, type Alias, type ModelDetail } from "@/api/models";
import { lineageQuery } from "@/api/registry";
import { PriceForm } from "@/features/gateway/PriceForm";
import { elseOf, PriceLines } from "@/features/gateway/PriceLines";
import { importWords, isNothing } from "@/features/gateway/prices";
import { ArtifactLink } from "@/features/lineage/ArtifactLink";
import { ArtifactMenu } from "@/features/revocations/ArtifactMenu";
import { BrokenBanner } from "@/features/revocations/BrokenBanner";
import { useAdmin } from "@/features/session/useAdmin";
import { Chip } from "@/kit/Chips";
import { CopyButton } from "@/kit/Copy";
import { Crumbs } from "@/kit/Crumbs";
import { shown } from "@/kit/Diff";
import { bytes, compact, count, exactPrice, plural, shortDigest } from "@/kit/format";
import kit from "@/kit/kit.module.css";
import { LinkButton } from "@/kit/LinkButton";
import { Facts, Page, Panel, Scroll } from "@/kit/Page";
import { ErrorState, Loading } from "@/kit/States";
import { Ago, useNow } from "@/kit/time";
import { Cap, Kind } from "./ModelsPage";
import css from "./models.module.css";
import { MoveAliasModal } from "./MoveAliasModal";

const route = getRouteApi("/signed-in/p/$project/models/-/$");

/** One model: what it is, which versions there are, what it was made from, what it costs, what uses it. */
export function ModelPage() {
  const { project, _splat: name = "" } = route.useParams();
  const { version } = route.useSearch();
  const navigate = route.useNavigate();
  const query = useQuery(modelQuery(project, name, version));
  const versions = useInfiniteQuery(modelVersionsQuery(project, name));
  const listed = versions.data?.pages.flatMap((page) => page.items) ?? [];
  const model = query.data;
  return (
    <Page
      title={name}
      heading={
        <Crumbs
          up={[
            <Link key="all" to="/p/$project/models" params={{ project }} className="link">
              Models
            </Link>,
          ]}
        >
          {name}
        </Crumbs>
      }
      side={
        model && (
          <>
            <Select aria-label="Version" value={model.semver} data={[...new Set([...listed.map((v) => v.semver), model.semver])]} onChange={(value) => void navigate({ search: value === listed[0]?.semver || value === null ? {} : { version: value }, replace: true })} allowDeselect={false} searchable={listed.length > 10} w={120} />
            <LinkButton to="/p/$project/lineage/$digest" params={{ project, digest: model.digest }} variant="default" leftSection={<IconSchema size={14} />}>
              Lineage graph
            </LinkButton>
            <ArtifactMenu project={project} digest={model.digest} name={`${name}@${model.semver}`} />
          </>
        )
      }
    >
      {model === undefined ? (
        <Panel label={name}>{query.isError ? <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} /> : <Loading rows={10} />}</Panel>
      ) : (
        <>
          <BrokenBanner project={project} digest={model.digest} name="This version" />
          <About model={model} project={project} />
          <div className={css.columns}>
            <Versions project={project} name={name} shown={model.semver} listed={listed} />
            <Aliases project={project} name={name} listed={listed} />
            <Origin project={project} model={model} />
            <UsedBy project={project} digest={model.digest} />
          </div>
          <Prices project={project} model={model} />
          {model.files.length > 0 && <Files model={model} />}
        </>
      )}
    </Page>
  );
}

function Digest({ value, what }: { value: string; what: string }) {
  return (
    <span className={css.digest}>
      <span className="mono" title={value}>
        {shortDigest(value, 16)}
      </span>
      <CopyButton value={value} what={what} size="xs" />
    </span>
  );
}

function About({ project, model }: { project: string; model: ModelDetail }) {
  const bases = useQuery({ ...lineageQuery(project, model.digest, "upstream", 1), enabled: model.base !== null });
  return (
    <Panel label="About this version">
      <div className={css.about}>
        <Facts
          items={[
            ["Version", <span key="v" className={css.digest}><strong className="num">{model.semver}</strong><Kind model={model} />{model.aliases.map((alias) => <Chip key={alias} tone="accent">{alias}</Chip>)}</span>],
            ["Licence", model.licence === "" ? "unknown" : model.licence_id !== "unknown" && model.licence_id !== model.licence ? `${model.licence} (${model.licence_id})` : model.licence],
            ["Can be made again", <Cap key="c" model={model} />],
            ["Canary", model.wants_canary ? <Chip key="k" tone="warn" tip="Its provider may change what answers unseen: ask it the same questions again and again, and compare">wanted</Chip> : "not needed: what answers cannot change unseen"],
            ["Provider", [model.provider, model.provider_model, model.snapshot].filter(Boolean).join(" / ")],
            ["Base", model.base === null ? "" : <ArtifactLink key="b" project={project} digest={model.base} label={bases.data?.artifacts.find((a) => a.digest === model.base)} />],
            ["Derivation", model.derivation === "none" ? "" : model.derivation],
            ["Made", <span key="m"><Ago at={model.created_at} /> by {model.created_by}</span>],
            ["Why", model.reason],
          ]}
        />
        <Facts
          items={[
            ["Format", model.format],
            ["Size", model.size_bytes === null ? "" : bytes(model.size_bytes)],
            ["Architecture", model.architecture],
            ["Parameters", model.parameters > 0 ? `${compact(model.parameters)} (${count(model.parameters)})` : ""],
            ["Quantised", model.quantisation],
            ["Tensors", Object.entries(model.dtypes).map(([type, n]) => `${count(n)} ${type}`).join(", ")],
            ["Context", model.context_length > 0 ? `${count(model.context_length)} tokens` : ""],
            ["Pickled", model.pickled ? <Chip key="p" tone="warn">yes: loading them runs code of their maker</Chip> : ""],
            ["Adapter", model.adapter === null ? "" : `${model.adapter.type}, rank ${model.adapter.rank}, alpha ${model.adapter.alpha}, on ${model.adapter.targets.join(", ")}`],
          ]}
        />
        <Facts
          items={[
            ["Digest", <Digest key="d" value={model.digest} what="model digest" />],
            ["Tokenizer", model.tokenizer === null ? "" : <Digest key="t" value={model.tokenizer} what="tokenizer digest" />],
            ["Chat template", model.chat_template === null ? "" : <Digest key="c" value={model.chat_template} what="chat template digest" />],
            ["Configuration", model.config === null ? "" : <Digest key="f" value={model.config} what="configuration digest" />],
            ...Object.entries(model.source).map(([key, value]): [string, string] => [key.charAt(0).toUpperCase() + key.slice(1), shown(value)]),
          ]}
        />
      </div>
    </Panel>
  );
}

function Versions({ project, name, shown: here, listed }: { project: string; name: string; shown: string; listed: { semver: string; digest: string; created_at: string; created_by: string; reason: string }[] }) {
  return (
    <Panel title="Versions" note="newest first" flush>
      <Scroll label="Versions">
        <table className={kit.table}>
          <thead>
            <tr>
              <th scope="col">Version</th>
              <th scope="col">Digest</th>
              <th scope="col">Made</th>
              <th scope="col">Why</th>
            </tr>
          </thead>
          <tbody>
            {listed.map((version, i) => (
              <tr key={version.semver}>
                <td>
                  <Link to="/p/$project/models/-/$" params={{ project, _splat: name }} search={i === 0 ? {} : { version: version.semver }} className="link num">
                    {version.semver}
                  </Link>
                  {version.semver === here && <span className="dim"> shown</span>}
                </td>
                <td className="mono">{shortDigest(version.digest, 12)}</td>
                <td className={css.when}>
                  <Ago at={version.created_at} />, {version.created_by}
                </td>
                <td>{version.reason}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </Panel>
  );
}

function Aliases({ project, name, listed }: { project: string; name: string; listed: { semver: string; digest: string }[] }) {
  const { data } = useQuery(modelAliasesQuery(project, name));
  const [moving, setMoving] = useState<Alias | "new" | null>(null);
  return (
    <Panel
      title="Aliases"
      note="names that move from version to version"
      side={
        <Button variant="default" size="compact-xs" leftSection={<IconPlus size={13} />} disabled={listed.length === 0} onClick={() => setMoving("new")}>
          New alias
        </Button>
      }
      flush
    >
      {data === undefined || data.length === 0 ? (
        <p className={css.none}>{data === undefined ? "…" : "No alias points to a version of this model."}</p>
      ) : (
        <Scroll label="Aliases">
          <table className={kit.table}>
            <thead>
              <tr>
                <th scope="col">Alias</th>
                <th scope="col">Version</th>
                <th scope="col">Moved</th>
                <th scope="col">Gate</th>
                <th scope="col">
                  <span className="unseen">Move</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {data.map((alias) => (
                <tr key={alias.alias}>
                  <td style={{ fontWeight: 500 }}>{alias.alias}</td>
                  <td className="num">{listed.find((v) => v.digest === alias.digest)?.semver ?? <span className="mono">{shortDigest(alias.digest, 12)}</span>}</td>
                  <td className={css.when}>
                    <Ago at={alias.moved_at} /> by {alias.moved_by}
                  </td>
                  <td>{alias.governed ? <Chip tip="Moves only through its gate">gated</Chip> : <span className="dim">none</span>}</td>
                  <td className={kit.right}>
                    <Button variant="default" size="compact-xs" aria-label={`Move ${alias.alias}`} onClick={() => setMoving(alias)}>
                      Move…
                    </Button>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
      {moving !== null && <MoveAliasModal project={project} model={name} alias={moving === "new" ? null : (data?.find((each) => each.alias === moving.alias) ?? moving)} listed={listed} close={() => setMoving(null)} />}
    </Panel>
  );
}

function Origin({ project, model }: { project: string; model: ModelDetail }) {
  const query = useQuery(lineageQuery(project, model.digest, "upstream", 1));
  const labels = new Map((query.data?.artifacts ?? []).map((label) => [label.digest, label]));
  const origin = model.origin;
  return (
    <Panel title="Where it comes from" note={origin?.kind}>
      {origin === null ? (
        <p className="dim" style={{ margin: 0 }}>
          No activity is recorded that made it.
        </p>
      ) : (
        <Facts
          items={[
            ["When", <Ago key="w" at={origin.at} />],
            ...origin.inputs.map((input): [string, React.ReactNode] => [input.role || "from", <span key={input.digest}><ArtifactLink project={project} digest={input.digest} label={labels.get(input.digest)} />{input.policy !== "none" && <span className="dim"> a change means: {input.policy}</span>}</span>]),
            ...Object.entries({ ...origin.params, ...origin.environment })
              .filter(([, value]) => value !== null && value !== "")
              .map(([key, value]): [string, React.ReactNode] => [key, <span key={key} className="mono">{shown(value).slice(0, 400)}</span>]),
          ]}
        />
      )}
    </Panel>
  );
}

/** Releases that pin it and models that were made from it. */
function UsedBy({ project, digest }: { project: string; digest: string }) {
  const query = useQuery(lineageQuery(project, digest, "downstream", 1));
  const made = new Set((query.data?.activities ?? []).flatMap((activity) => activity.edges.filter((edge) => edge.direction === "out").map((edge) => edge.digest)));
  const users = (query.data?.artifacts ?? []).filter((label) => made.has(label.digest));
  return (
    <Panel title="Used by" note={query.data ? plural(users.length, "artifact") : undefined}>
      {query.isError ? (
        <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} />
      ) : query.data === undefined ? (
        <Loading rows={3} />
      ) : users.length === 0 ? (
        <p className="dim" style={{ margin: 0 }}>
          No release pins this version, and nothing was made from it.
        </p>
      ) : (
        <ul className={css.users}>
          {users.map((label) => (
            <li key={label.digest}>
              <span className="dim">{label.kind}</span> <ArtifactLink project={project} digest={label.digest} label={label} />
            </li>
          ))}
        </ul>
      )}
    </Panel>
  );
}

function Prices({ project, model }: { project: string; model: ModelDetail }) {
  const { data } = useQuery(modelPricesQuery(project, model.name));
  const admin = useAdmin();
  const clock = useNow();
  const [setting, setSetting] = useState(false);
  const now = model.price;
  const routed = useQuery(routedModelsQuery(project)).data?.find((each) => each.name === model.name);
  const free = now === null && routed?.price != null && isNothing(routed.price);
  return (
    <Panel
      title="Prices"
      note="a million tokens; the rest as it says"
      side={
        admin ? (
          <Button variant={now === null && !free ? "filled" : "default"} size="compact-xs" leftSection={<IconPlus size={13} />} onClick={() => setSetting(true)}>
            Set a price
          </Button>
        ) : undefined
      }
    >
      {setting && <PriceForm project={project} model={model.name} price={now} close={() => setSetting(false)} />}
      {free ? (
        <p className="dim" style={{ margin: 0 }}>
          Nobody bills calls of this model: they cost nothing. A price that is set here counts in this project’s budgets, spans and usage, and in no other’s.
        </p>
      ) : now === null ? (
        <Alert color="yellow" variant="light" icon={<IconAlertTriangle size={18} />} title="Nobody knows its price">
          What its calls cost is unknown, not nothing, and budgets cannot count it.
        </Alert>
      ) : (
        <Facts
          items={[
            ["Now", `${exactPrice(now.input, now.currency)} in, ${exactPrice(now.output, now.currency)} out${now.tiered ? ", more by the length of the prompt" : ""}`],
            ["Other charges", elseOf(now)],
            ["By", now.source === "local" ? "this installation" : now.source === "manual" ? "the price table" : now.source === "genai-prices" ? "the public price list (genai-prices)" : importWords(now.source)],
            ["Not counted", now.unpriced.join(", ")],
          ]}
        />
      )}
      {data !== undefined && data.length > 0 && (
        <div style={{ marginTop: 12 }}>
          <PriceLines project={project} lines={data} now={clock} admin={admin} />
        </div>
      )}
    </Panel>
  );
}

function Files({ model }: { model: ModelDetail }) {
  return (
    <Panel title="Files" note={plural(model.files.length, "file")} flush>
      <Scroll label="Files of weights">
        <table className={kit.table}>
          <thead>
            <tr>
              <th scope="col">Path</th>
              <th scope="col" className={kit.right}>
                Size
              </th>
              <th scope="col">Digest</th>
            </tr>
          </thead>
          <tbody>
            {model.files.map((file) => (
              <tr key={file.path}>
                <td className="mono" style={{ overflowWrap: "anywhere" }}>
                  {file.path}
                </td>
                <td className={kit.right}>{bytes(file.size)}</td>
                <td>
                  <Digest value={file.digest} what="file digest" />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </Panel>
  );
}
