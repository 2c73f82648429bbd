import { Button } from "@mantine/core";
import { keepPreviousData, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { IconPlugConnected, IconPlus } from "@tabler/icons-react";
import { SERVER_SORTS, toolListingQuery, toolServersQuery, type ToolServer } from "@/api/tools";
import { AskAdmin } from "@/features/session/AskAdmin";
import { ForAdmins } from "@/features/session/ForAdmins";
import { useAdmin } from "@/features/session/useAdmin";
import { Chip } from "@/kit/Chips";
import { Command } from "@/kit/Copy";
import { count } from "@/kit/format";
import kit from "@/kit/kit.module.css";
import { SearchBox, SortHead } from "@/kit/Lists";
import { Panel, Scroll } from "@/kit/Page";
import { withSearch } from "@/kit/search";
import { EmptyState, ErrorState, Loading } from "@/kit/States";
import css from "./gateway.module.css";
import { GatewayPage } from "./GatewayPage";
import type { ToolServersSearch } from "./search";
import { ToolServerForm } from "./ToolServerForm";
import { commandText } from "./toolServerForm";
import { POLICIES, standing } from "./toolWords";

const route = getRouteApi("/signed-in/p/$project/gateway/tools");

/** The MCP servers of a project, and how many of their tools stand how. */
export function ToolServersPage() {
  const { project } = route.useParams();
  const { add, q = "", sort = "name" } = route.useSearch();
  const navigate = route.useNavigate();
  const admin = useAdmin();
  const queries = useQueryClient();
  const query = useQuery(toolServersQuery(project));
  const found = useQuery({ ...toolServersQuery(project, q, sort), placeholderData: keepPreviousData });
  const set = (next: ToolServersSearch): void => void navigate({ search: (old) => withSearch<ToolServersSearch>(old, next), replace: true });
  const open = (on: boolean): void => set({ add: on ? "1" : undefined });
  const button = (
    <Button leftSection={<IconPlus size={14} />} onClick={() => open(true)}>
      Add MCP server
    </Button>
  );
  return (
    <GatewayPage project={project} title="Tools" side={admin && query.data && query.data.length > 0 ? button : undefined}>
      <Panel title="MCP servers" note="how many of their tools stand how" flush>
        {query.data === undefined ? (
          query.isError ? (
            <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} />
          ) : (
            <Loading />
          )
        ) : query.data.length === 0 ? (
          <EmptyState
            icon={<IconPlugConnected size={28} stroke={1.4} color="var(--t-accent)" />}
            title="No MCP server in this project"
            more={
              admin ? (
                <>
                  <div style={{ textAlign: "center" }}>{button}</div>
                  <Command text="tetrad mcp add github --url https://mcp.example.com/mcp" />
                </>
              ) : (
                <AskAdmin to="add one" />
              )
            }
          >
            An MCP server offers tools to models. Add one by its address, read what its tools say of themselves, approve them; clients with a key of this project then reach it at /mcp/NAME of the gateway, and every call is in the traces.
          </EmptyState>
        ) : (
          <>
            <div className={css.filters} role="search">
              <SearchBox value={q} onChange={(text) => set({ q: text })} label="Find an MCP server" placeholder="Name or address" />
            </div>
            {found.isError ? (
              <ErrorState error={found.error} retry={() => void found.refetch()} busy={found.isFetching} />
            ) : found.data?.length === 0 ? (
              <EmptyState title="No MCP server is so">Search for another part of its name or its address.</EmptyState>
            ) : (
              <Servers project={project} servers={found.data ?? []} sort={sort} onSort={(next) => set({ sort: next === "name" ? undefined : SERVER_SORTS.find((each) => each === next) })} />
            )}
          </>
        )}
      </Panel>
      {add === "1" && (
        <ForAdmins title="Add an MCP server" to="add one" close={() => open(false)}>
          <ToolServerForm
            project={project}
            taken={(query.data ?? []).map((server) => server.name)}
            close={() => open(false)}
            done={(saved) => {
              // Its page shows what comes of it.
              void queries.query({ ...toolListingQuery(project, saved.name), staleTime: 0 }).catch(() => undefined);
              void navigate({ to: "/p/$project/gateway/tools/$server", params: { project, server: saved.name } });
            }}
          />
        </ForAdmins>
      )}
    </GatewayPage>
  );
}

function Servers({ project, servers, sort, onSort }: { project: string; servers: ToolServer[]; sort: string; onSort: (sort: string) => void }) {
  return (
    <Scroll label="MCP servers">
      <table className={kit.table}>
        <thead>
          <tr>
            <SortHead field="name" sort={sort} onSort={onSort}>
              Name
            </SortHead>
            <SortHead field="rests" sort={sort} onSort={onSort} first="desc">
              State
            </SortHead>
            <th scope="col" className={kit.right}>
              Approved
            </th>
            <th scope="col" className={kit.right}>
              Waiting
            </th>
            <th scope="col" className={kit.right}>
              Changed
            </th>
            <th scope="col">Policy</th>
            <SortHead field="url" sort={sort} onSort={onSort}>
              Where
            </SortHead>
          </tr>
        </thead>
        <tbody>
          {servers.map((server) => {
            const { tone, word, why } = standing(server);
            const number = (state: string) => <td className={kit.right}>{count(server.tools[state] ?? 0)}</td>;
            return (
              <tr key={server.name} data-server={server.name}>
                <td className={css.named}>
                  <Link to="/p/$project/gateway/tools/$server" params={{ project, server: server.name }} className="link" style={{ fontWeight: 500 }}>
                    {server.name}
                  </Link>
                </td>
                <td>
                  <Chip tone={tone} tip={why}>
                    {word}
                  </Chip>
                </td>
                {number("approved")}
                {number("new")}
                {number("changed")}
                <td className={css.when}>{POLICIES.find((each) => each.value === server.on_change)?.word}</td>
                <td className={`mono ${css.text}`}>{server.url || commandText(server.command)}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </Scroll>
  );
}
