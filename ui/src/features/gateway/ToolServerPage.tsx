import { Button, SegmentedControl } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { IconRefresh } from "@tabler/icons-react";
import { useState } from "react";
import { deleteToolServer, toolListingQuery, toolServerQuery, toolsQuery, type Tool, type ToolServer, type ToolServerRest } from "@/api/tools";
import { ForAdmins } from "@/features/session/ForAdmins";
import { useAdmin } from "@/features/session/useAdmin";
import { Chip } from "@/kit/Chips";
import { Crumbs } from "@/kit/Crumbs";
import { Failure } from "@/kit/Failure";
import { ChangeAndRemove, Confirm } from "@/kit/Forms";
import { count, duration, plural, shortDigest } from "@/kit/format";
import kit from "@/kit/kit.module.css";
import { SearchBox } from "@/kit/Lists";
import { Facts, Page, Panel, Scroll } from "@/kit/Page";
import { withSearch } from "@/kit/search";
import { EmptyState, ErrorState, Loading } from "@/kit/States";
import { Ago, useNow } from "@/kit/time";
import css from "./gateway.module.css";
import { TOOL_VIEWS, type ToolServerSearch, type ToolsOf } from "./search";
import { ReviewDrawer, StateOf, ToolDrawer } from "./ToolReview";
import { ToolServerForm } from "./ToolServerForm";
import { commandText } from "./toolServerForm";
import { askedAgain, countsOf, descriptionOf, POLICIES, standing, toldTool, waits } from "./toolWords";

const route = getRouteApi("/signed-in/p/$project/gateway/tools/$server");

/** One MCP server: its tools as they were approved and as they are, and how it is reached. */
export function ToolServerPage() {
  const { project, server: name } = route.useParams();
  const { edit, tool: opened, review, show = "all", q = "" } = route.useSearch();
  const navigate = route.useNavigate();
  const queries = useQueryClient();
  const admin = useAdmin();
  const [removing, setRemoving] = useState(false);
  const query = useQuery(toolServerQuery(project, name));
  const known = useQuery(toolsQuery(project, name));
  const listing = useQuery({ ...toolListingQuery(project, name), enabled: false });
  const server = query.data;
  const tools = known.data ?? [];
  const open = opened === undefined ? undefined : tools.find((each) => toldTool(each.name) === opened);
  const waiting = tools.filter(waits);
  const set = (next: ToolServerSearch): void => void navigate({ search: (old) => withSearch<ToolServerSearch>(old, next), replace: true });
  const remove = useMutation({
    mutationFn: () => deleteToolServer(project, name),
    onSuccess: () => {
      void queries.invalidateQueries({ queryKey: ["tool-servers", project, "list"] });
      queries.removeQueries({ queryKey: ["tool-listing", project, name] });
      void navigate({ to: "/p/$project/gateway/tools", params: { project } });
    },
  });
  return (
    <Page
      title={name}
      heading={
        <Crumbs
          up={[
            <Link key="all" to="/p/$project/gateway/tools" params={{ project }} className="link">
              Tools
            </Link>,
          ]}
        >
          {name}
        </Crumbs>
      }
      side={
        server &&
        admin && (
          <>
            <Button variant="default" leftSection={<IconRefresh size={14} />} loading={listing.isFetching} onClick={() => void listing.refetch()}>
              Ask for its tools
            </Button>
            <ChangeAndRemove change={() => set({ edit: "1" })} remove={() => setRemoving(true)} />
          </>
        )
      }
    >
      {server === undefined ? (
        <Panel label="MCP server">{query.isError ? <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} /> : <Loading rows={8} />}</Panel>
      ) : (
        <>
          {!listing.isFetching && <Failure error={listing.error} />}
          <div className={css.columns}>
            <Panel
              title="Tools"
              note={listing.data ? `it answered in ${duration(listing.data.took_ms)}, in MCP ${listing.data.protocol}` : "as last seen"}
              side={
                admin &&
                waiting.length > 0 && (
                  <Button size="compact-xs" onClick={() => set({ review: "1" })}>
                    Read and approve {plural(waiting.length, "definition")}
                  </Button>
                )
              }
              flush
            >
              {known.data === undefined ? (
                known.isError ? (
                  <ErrorState error={known.error} retry={() => void known.refetch()} busy={known.isFetching} />
                ) : (
                  <Loading />
                )
              ) : tools.length === 0 ? (
                listing.isFetching ? (
                  <Loading />
                ) : (
                  <EmptyState
                    title="None of its tools was seen yet"
                    more={
                      admin && (
                        <div style={{ textAlign: "center" }}>
                          <Button leftSection={<IconRefresh size={14} />} onClick={() => void listing.refetch()}>
                            Ask for its tools
                          </Button>
                        </div>
                      )
                    }
                  >
                    Ask the server, read what its tools say of themselves, and approve them. Nothing of it can be called before.
                  </EmptyState>
                )
              ) : (
                <Tools tools={tools} show={show} q={q} set={set} />
              )}
            </Panel>
            <div className={css.stack}>
              {server.rests.length > 0 && <Rests rests={server.rests} />}
              <About server={known.data === undefined ? server : { ...server, tools: countsOf(tools) }} />
              {listing.data && listing.data.odd.length > 0 && (
                <Panel title="Cannot be approved" note="as it answered now" flush>
                  <ul className={css.failures}>
                    {listing.data.odd.map((each) => (
                      <li key={each}>
                        <p>{each}</p>
                      </li>
                    ))}
                  </ul>
                </Panel>
              )}
            </div>
          </div>
        </>
      )}
      {edit === "1" && server && (
        <ForAdmins title={`Change ${name}`} to="change it" close={() => set({ edit: undefined })}>
          <ToolServerForm project={project} server={server} taken={[]} close={() => set({ edit: undefined })} done={() => set({ edit: undefined })} />
        </ForAdmins>
      )}
      {review === "1" && known.data && (
        <ForAdmins title={`What waits for approval at ${name}`} to="read and approve it" close={() => set({ review: undefined })}>
          <ReviewDrawer project={project} server={name} tools={tools} close={() => set({ review: undefined })} />
        </ForAdmins>
      )}
      {open && <ToolDrawer key={open.name} project={project} server={name} tool={open} admin={admin} close={() => set({ tool: undefined })} />}
      {removing && (
        <Confirm title={`Remove ${name}?`} act="Remove server" error={remove.error} busy={remove.isPending} close={() => setRemoving(false)} confirm={() => remove.mutate()}>
          Its tools can be called no more, and what is approved of them is forgotten. Calls under way end as they would have; traces stay, and so do secrets.
        </Confirm>
      )}
    </Page>
  );
}

const VIEWS: Record<ToolsOf, { label: string; has: (tool: Tool) => boolean }> = {
  all: { label: "all", has: () => true },
  waiting: { label: "to approve", has: waits },
  approved: { label: "approved", has: (tool) => tool.state === "approved" },
  gone: { label: "gone", has: (tool) => tool.state === "gone" },
};

function Tools({ tools, show, q, set }: { tools: Tool[]; show: ToolsOf; q: string; set: (next: ToolServerSearch) => void }) {
  const words = q.toLowerCase();
  const found = tools.filter((tool) => VIEWS[show].has(tool) && (words === "" || toldTool(tool.name).toLowerCase().includes(words) || descriptionOf(tool.definition ?? tool.approved).toLowerCase().includes(words)));
  return (
    <>
      <div className={css.filters}>
        <SegmentedControl aria-label="Which tools" value={show} data={TOOL_VIEWS.map((each) => ({ value: each, label: `${VIEWS[each].label} ${count(tools.filter(VIEWS[each].has).length)}` }))} onChange={(next) => set({ show: next === "all" ? undefined : next })} />
        <SearchBox value={q} onChange={(text) => set({ q: text })} label="Find a tool" />
      </div>
      {found.length === 0 ? (
        <p className={css.none}>None of its tools is so.</p>
      ) : (
        <Scroll label="Tools">
          <table className={kit.table}>
            <thead>
              <tr>
                <th scope="col">Tool</th>
                <th scope="col">State</th>
                <th scope="col">Says of itself</th>
                <th scope="col">Approved</th>
              </tr>
            </thead>
            <tbody>
              {found.map((tool) => (
                <tr key={tool.name} data-tool={toldTool(tool.name)}>
                  <td>
                    <button type="button" className={`mono ${css.plain}`} onClick={() => set({ tool: toldTool(tool.name) })}>
                      {toldTool(tool.name)}
                    </button>
                  </td>
                  <td>
                    <StateOf tool={tool} />
                  </td>
                  <td className={css.says}>{descriptionOf(tool.definition ?? tool.approved).split("\n")[0]}</td>
                  <td className={css.when}>
                    {tool.approved_at === null ? <span className="dim">never</span> : <Ago at={tool.approved_at} />}{" "}
                    {tool.approved_digest !== "" && (
                      <span className="mono dim" title={`Pinned to ${tool.approved_digest}`}>
                        {shortDigest(tool.approved_digest)}
                      </span>
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
    </>
  );
}

/** What the server did not answer where all servers are asked, and when it is asked again. */
function Rests({ rests }: { rests: ToolServerRest[] }) {
  const now = useNow(1000);
  return (
    <Panel title="Rests" note={rests.some((rest) => rest.state !== "due") ? "left out at /mcp; its own address is open" : "over; the next request at /mcp asks it"} flush>
      <ul className={css.failures}>
        {rests.map((rest) => (
          <li key={rest.method} data-rest={rest.method}>
            <p>
              <span className="mono">{rest.method}</span>: {rest.reason}
            </p>
            <p className="dim">
              first <Ago at={rest.since} />, {plural(rest.failures, "failure")} in a row, at {plural(rest.workers, "gateway worker")}; {askedAgain(rest, now)}
            </p>
          </li>
        ))}
      </ul>
    </Panel>
  );
}

function About({ server }: { server: ToolServer }) {
  const { tone, word, why } = standing(server);
  const given = Object.entries(server.command.length > 0 ? server.env : server.headers);
  return (
    <Panel title="Set-up">
      <Facts
        items={[
          [
            "State",
            <span key="state">
              <Chip tone={tone}>{word}</Chip> <span className="dim">{why}</span>
            </span>,
          ],
          [server.url === "" ? "Command" : "Address", <span key="where" className="mono">{server.url || commandText(server.command)}</span>],
          ["Clients reach it at", <span key="path" className="mono">{`/mcp/${server.name}`}</span>],
          [
            server.command.length > 0 ? "Variables" : "Headers",
            given.length === 0 ? (
              <span className="dim">none</span>
            ) : (
              <span key="given" className="mono">
                {given.map(([name, value]) => `${name}: ${value}`).join(", ")}
              </span>
            ),
          ],
          ["What changed", POLICIES.find((each) => each.value === server.on_change)?.label ?? server.on_change],
          ["Allowed", <span key="allow" className={css.chips}>{server.allow.map((each) => <Chip key={each}><span className="mono">{each}</span></Chip>)}</span>],
          ["Who may use it", server.access.length === 0 ? "all keys of the project" : server.access.map((each) => `${each.subject} ${each.name} (${each.tools.join(", ")})`).join("; ")],
          ["Passed on", server.serves.join(", ")],
          ["Private address", server.internal === true ? "allowed" : ""],
          ["Timeouts", `connect ${server.connect_timeout_s} s, first byte ${server.first_byte_timeout_s} s, silence ${server.idle_timeout_s} s, whole ${server.total_timeout_s} s`],
        ]}
      />
    </Panel>
  );
}
