import { Alert, Button, Drawer, SegmentedControl } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { IconAlertTriangle, IconCoin, IconPlus } from "@tabler/icons-react";
import { useState } from "react";
import { providersQuery, routedModelsQuery } from "@/api/gateway";
import { allPricesQuery } from "@/api/models";
import { ForAdmins } from "@/features/session/ForAdmins";
import { useAdmin } from "@/features/session/useAdmin";
import { Chip } from "@/kit/Chips";
import { exactPrice, fullTime, plural, unitPrices, UNKNOWN } from "@/kit/format";
import kit from "@/kit/kit.module.css";
import { More, SearchBox, SortHead } from "@/kit/Lists";
import { Facts, Panel, Scroll } from "@/kit/Page";
import { withSearch } from "@/kit/search";
import { EmptyState, ErrorState, Loading } from "@/kit/States";
import { Day, useNow } from "@/kit/time";
import css from "./gateway.module.css";
import { GatewayPage } from "./GatewayPage";
import { useKeyNames, whoOf } from "./keyNames";
import { PriceForm } from "./PriceForm";
import { PriceLines } from "./PriceLines";
import { importWords, isShown, PRICE_SORTS, priceRows, settable, sortedRows, sourceWords, stateOf, type PriceRow, type PriceSort, type PricesOf } from "./prices";
import { PRICE_VIEWS, type PricesSearch } from "./search";

const route = getRouteApi("/signed-in/p/$project/gateway/prices");
/** So many rows are drawn at first, and more as one scrolls. */
const STEP = 200;
const VIEWS = { all: "All", unknown: "Unknown", set: "Set by hand", imported: "Imported" };

/** What each model costs, who says so, and what nobody knows. */
export function PricesPage() {
  const { project } = route.useParams();
  const { q = "", show, sort = "name", model, set: setting, add } = route.useSearch();
  const navigate = route.useNavigate();
  const admin = useAdmin();
  const now = useNow();
  const [drawn, setDrawn] = useState(STEP);
  const [models, providers, table] = [useQuery(routedModelsQuery(project)), useQuery(providersQuery(project)), useQuery(allPricesQuery(project))];
  const failed = [models, providers, table].find((query) => query.data === undefined && query.isError);
  const set = (next: PricesSearch): void => void navigate({ search: (old) => withSearch<PricesSearch>(old, next), replace: true });
  const rows = models.data && providers.data && table.data ? priceRows(models.data, providers.data, table.data, now) : undefined;
  const unknown = (rows ?? []).filter((row) => row.routed && row.source === "unknown");
  const words = q.toLowerCase();
  const found = sortedRows(
    (rows ?? []).filter((row) => row.name.toLowerCase().includes(words) && isShown(row, show)),
    sort,
  );
  const open = model === undefined ? undefined : rows?.find((row) => row.name === model);
  const priced = setting === undefined ? undefined : rows?.find((row) => row.name === setting);
  const onSort = (next: string): void => set({ sort: next === "name" ? undefined : PRICE_SORTS.find((each) => each === next) });
  const button = (
    <Button leftSection={<IconPlus size={14} />} onClick={() => set({ add: "1", set: undefined, model: undefined })}>
      Set a price
    </Button>
  );
  return (
    <GatewayPage project={project} title="Prices" side={admin && rows !== undefined ? button : undefined}>
      {unknown.length > 0 && (
        <Alert color="yellow" variant="light" icon={<IconAlertTriangle size={18} />} title={`The price of ${plural(unknown.length, "model")} is unknown`}>
          What {unknown.length === 1 ? "it costs" : "they cost"} is not counted: costs are shown as unknown, never as nothing, and budgets refuse such calls or count them as unknown, as each is told.{" "}
          {unknown.slice(0, 4).map((row, i) => (
            <span key={row.name}>
              {i > 0 && ", "}
              <Link to="/p/$project/gateway/prices" params={{ project }} search={admin && settable(row) ? { set: row.name } : { model: row.name }} className="link mono" style={{ textDecoration: "underline" }}>
                {row.name}
              </Link>
            </span>
          ))}
          {unknown.length > 4 && (
            <>
              {" and "}
              <Link to="/p/$project/gateway/prices" params={{ project }} search={{ show: "unknown" }} className="link" style={{ textDecoration: "underline" }}>
                {plural(unknown.length - 4, "other")}
              </Link>
            </>
          )}
        </Alert>
      )}
      <Panel title="What models cost" note="input, output and cache: per million tokens; other charges as they say" flush label="Prices">
        <div className={css.filters} role="search">
          <SegmentedControl aria-label="Which prices" value={show ?? "all"} data={(["all", ...PRICE_VIEWS] as ("all" | PricesOf)[]).map((value) => ({ value, label: VIEWS[value] }))} onChange={(next) => set({ show: PRICE_VIEWS.find((each) => each === next) })} />
          <SearchBox value={q} onChange={(text) => set({ q: text })} label="Find a model" placeholder="Name of a model" />
        </div>
        {rows === undefined ? (
          failed ? (
            <ErrorState error={failed.error} retry={() => void failed.refetch()} busy={failed.isFetching} />
          ) : (
            <Loading />
          )
        ) : rows.length === 0 ? (
          <EmptyState icon={<IconCoin size={28} stroke={1.4} color="var(--t-accent)" />} title="No model to price yet">
            Add a provider, and what its models cost stands here.
          </EmptyState>
        ) : found.length === 0 ? (
          <EmptyState title={show === "unknown" && q === "" ? "Every price is known" : "No model is so"}>{show === "unknown" && q === "" ? "Whatever clients may call has a price." : "Search for another part of its name, or among all prices."}</EmptyState>
        ) : (
          <>
            <PriceTable rows={found.slice(0, drawn)} sort={sort} onSort={onSort} open={(row) => set({ model: row.name, set: undefined })} give={admin ? (row) => set({ set: row.name, model: undefined }) : undefined} />
            <More has={found.length > drawn} busy={false} load={() => setDrawn(drawn + STEP)} what="more models" />
          </>
        )}
      </Panel>
      {open && <PriceDrawer project={project} row={open} now={now} admin={admin} close={() => set({ model: undefined })} give={() => set({ set: open.name, model: undefined })} />}
      {(setting ?? add) !== undefined && rows !== undefined && (priced === undefined || settable(priced)) && (
        <ForAdmins title={setting === undefined ? "Set a price" : `Set the price of ${setting}`} to="set it" close={() => set({ set: undefined, add: undefined })}>
          <PriceForm key={setting ?? ""} project={project} model={setting ?? ""} price={priced?.price ?? null} close={() => set({ set: undefined, add: undefined })} />
        </ForAdmins>
      )}
    </GatewayPage>
  );
}

function PriceTable({ rows, sort, onSort, open, give }: { rows: readonly PriceRow[]; sort: PriceSort; onSort: (sort: string) => void; open: (row: PriceRow) => void; give: ((row: PriceRow) => void) | undefined }) {
  return (
    <Scroll label="Models and what they cost">
      <table className={kit.table}>
        <thead>
          <tr>
            <SortHead field="name" sort={sort} onSort={onSort}>
              Model
            </SortHead>
            <SortHead field="input" sort={sort} onSort={onSort} first="desc" right>
              Input
            </SortHead>
            <SortHead field="output" sort={sort} onSort={onSort} first="desc" right>
              Output
            </SortHead>
            <th scope="col" className={kit.right}>
              Cache read
            </th>
            <th scope="col" className={kit.right}>
              Cache written
            </th>
            <th scope="col">Other charges</th>
            <th scope="col">In batches</th>
            <SortHead field="source" sort={sort} onSort={onSort}>
              Price from
            </SortHead>
            <SortHead field="since" sort={sort} onSort={onSort} first="desc">
              Counts since
            </SortHead>
            {give && (
              <th scope="col">
                <span className="unseen">Set</span>
              </th>
            )}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.name} data-price={row.name}>
              <td className={css.named}>
                <button type="button" className={`${css.plain} mono`} onClick={() => open(row)}>
                  {row.name}
                </button>
                {row.kinds.some((kind) => kind !== "chat") && <span className="dim"> {row.kinds.join(", ")}</span>}
                {!row.routed && <span className="dim"> not called here now</span>}
              </td>
              <Amounts row={row} />
              <td className={css.whole}>
                <Source row={row} />
              </td>
              <td className={css.whole}>{row.since === null ? UNKNOWN : <Day at={row.since} />}</td>
              {give && (
                <td className={kit.right}>
                  {settable(row) && (
                    <Button variant="default" size="compact-xs" aria-label={`Set the price of ${row.name}`} onClick={() => give(row)}>
                      Set…
                    </Button>
                  )}
                </td>
              )}
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

function Amounts({ row: { price, source } }: { row: PriceRow }) {
  if (price === null)
    return (
      <td colSpan={6}>
        <Chip tone="warn" tip="Calls cost an unknown amount; budgets refuse or count them as they are told">
          {source === "unknown" ? "unknown price" : ""}
        </Chip>
      </td>
    );
  return (
    <>
      <td className={kit.right}>{exactPrice(price.input, price.currency)}</td>
      <td className={kit.right}>{exactPrice(price.output, price.currency)}</td>
      <td className={kit.right}>{price.cache_read == null ? UNKNOWN : exactPrice(price.cache_read, price.currency)}</td>
      <td className={kit.right}>{price.cache_write == null ? UNKNOWN : exactPrice(price.cache_write, price.currency)}</td>
      <td className={css.text}>{unitPrices(price.units, price.currency) || UNKNOWN}</td>
      <td className={css.whole}>{price.batch == null ? UNKNOWN : `× ${price.batch}`}</td>
    </>
  );
}

function Source({ row }: { row: PriceRow }) {
  const { project } = route.useParams();
  if (row.source === "provider")
    return (
      <Link to="/p/$project/gateway/providers/$provider" params={{ project, provider: row.provider }} className="link">
        {sourceWords(row)}
      </Link>
    );
  const until = row.line?.price.valid_to ?? null;
  return (
    <>
      {row.source === "unknown" ? UNKNOWN : sourceWords(row)}
      {until !== null && <span className="dim">, until {fullTime(Date.parse(until))}</span>}
    </>
  );
}

const SINCE: Partial<Record<PriceRow["source"], string>> = { list: "the public price list of this version of Tetrad says so", free: "always: nobody bills its calls" };

/** One model's price, and the lines of the table that say so, said so or will. */
function PriceDrawer({ project, row, now, admin, close, give }: { project: string; row: PriceRow; now: number; admin: boolean; close: () => void; give: () => void }) {
  const { price, line } = row;
  const names = useKeyNames(project, [row.by]);
  const next = row.lines.filter((entry) => stateOf(entry, row.lines, now) === "waits").at(-1);
  return (
    <Drawer opened onClose={close} position="right" size="xl" title={row.name} styles={{ title: { overflowWrap: "anywhere" } }}>
      <div className={css.stack}>
        {price === null ? (
          <Alert color="yellow" variant="light" icon={<IconAlertTriangle size={18} />} title="Nobody knows its price">
            What its calls cost is unknown, not nothing, and budgets cannot count it.
          </Alert>
        ) : (
          <Facts
            items={[
              ["Input", `${exactPrice(price.input, price.currency)} a million tokens`],
              ["Output", `${exactPrice(price.output, price.currency)} a million tokens`],
              ["Cache", price.cache_read == null && price.cache_write == null ? "as input" : `${exactPrice(price.cache_read ?? price.input, price.currency)} read, ${exactPrice(price.cache_write ?? price.input, price.currency)} written`],
              ["Other charges", unitPrices(price.units, price.currency)],
              ["In batches", price.batch == null ? "not known" : `${price.batch} of this price`],
              ["Currency", price.currency],
              ["Price from", <Source key="s" row={row} />],
              ["Counts since", row.since === null ? (SINCE[row.source] ?? "not known: it was set before Tetrad noted that") : fullTime(Date.parse(row.since))],
              [row.imported === "" ? "Set" : "Imported", row.by === "" ? "" : `${line === undefined ? "" : `${fullTime(Date.parse(line.created_at))}, `}by ${whoOf(row.by, names)}`],
              ["Changes", next?.price.valid_from == null ? "" : fullTime(Date.parse(next.price.valid_from))],
            ]}
          />
        )}
        {row.source === "provider" && row.imported !== "" && <p className={css.note}>It was {importWords(row.imported)} into its provider’s form; a price that is typed there takes its place.</p>}
        {row.source === "provider" && <p className={css.note}>The price in its provider’s form goes before every line here: change it there, or take it out there for these to count.</p>}
        {row.source === "free" && <p className={css.note}>Nobody bills calls of this model: an engine of this installation answers them. A price that is set here counts in this project’s budgets, spans and usage, and in no other’s.</p>}
        {admin && settable(row) && (
          <Button leftSection={<IconPlus size={14} />} style={{ justifySelf: "start" }} onClick={give}>
            {row.lines.length === 0 ? "Set a price" : "Set another price"}
          </Button>
        )}
        {row.lines.length > 0 && <PriceLines project={project} lines={row.lines} now={now} admin={admin} />}
      </div>
    </Drawer>
  );
}
