import { Button, Menu, Tabs } from "@mantine/core";
import { useQueries, useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { IconArrowsMove, IconGitCompare, IconPlus, IconSchema } from "@tabler/icons-react";
import { useState } from "react";
import { appQuery, releaseQuery, type AppDetail, type Ref, type Release } from "@/api/apps";
import { runningCodeQuery } from "@/api/releases";
import { Parts } from "@/features/apps/Parts";
import { Chip } from "@/kit/Chips";
import { CopyButton } from "@/kit/Copy";
import { Crumbs } from "@/kit/Crumbs";
import { count, duration, shortDigest } from "@/kit/format";
import kit from "@/kit/kit.module.css";
import { LinkButton } from "@/kit/LinkButton";
import { Facts, Page, Panel, Scroll } from "@/kit/Page";
import { EmptyState, ErrorState, Loading } from "@/kit/States";
import { Ago } from "@/kit/time";
import { EvidencePanel } from "./EvidencePanel";
import { Gates } from "./Gates";
import { MoveRefModal } from "./RefModals";
import css from "./releases.module.css";
import { RELEASE_TABS } from "./search";

const route = getRouteApi("/signed-in/p/$project/releases/$digest");

/** One release: its four parts, what was stated about it, what its refs' gates say, what runs it. */
export function ReleasePage() {
  const { project, digest } = route.useParams();
  const { tab = "parts" } = route.useSearch();
  const navigate = route.useNavigate();
  const query = useQuery(releaseQuery(project, digest));
  const release = query.data;
  const app = useQuery({ ...appQuery(project, release?.app ?? ""), enabled: release !== undefined });
  const [moving, setMoving] = useState(false);
  const refs = app.data?.refs ?? [];
  const elsewhere = refs.filter((ref) => ref.digest !== digest);
  return (
    <Page
      title={release ? `${release.app} ${shortDigest(digest)}` : `Release ${shortDigest(digest)}`}
      heading={
        <Crumbs
          up={[
            <Link key="all" to="/p/$project/releases" params={{ project }} search={release ? { app: release.app } : {}} className="link">
              Releases
            </Link>,
            ...(release
              ? [
                  <Link key="app" to="/p/$project/apps/$app" params={{ project, app: release.app }} className="link">
                    {release.app}
                  </Link>,
                ]
              : []),
          ]}
        >
          <span className="mono">{shortDigest(digest, 12)}</span>
        </Crumbs>
      }
      side={
        release && (
          <>
            <Menu position="bottom-end">
              <Menu.Target>
                <Button variant="default" leftSection={<IconGitCompare size={14} />} disabled={elsewhere.length === 0}>
                  Compare
                </Button>
              </Menu.Target>
              <Menu.Dropdown>
                <Menu.Label>Changes from what stands at</Menu.Label>
                {elsewhere.map((ref) => (
                  <Menu.Item key={ref.name} onClick={() => void navigate({ to: "/p/$project/releases/diff", params: { project }, search: { from: ref.digest, to: digest } })}>
                    {ref.name} <span className="mono dim">{shortDigest(ref.digest)}</span>
                  </Menu.Item>
                ))}
              </Menu.Dropdown>
            </Menu>
            <LinkButton to="/p/$project/lineage/$digest" params={{ project, digest }} variant="default" leftSection={<IconSchema size={14} />}>
              Lineage
            </LinkButton>
            <LinkButton to="/p/$project/releases/derive" params={{ project }} search={{ from: digest }} variant="default" leftSection={<IconPlus size={14} />}>
              Derive
            </LinkButton>
            <Button leftSection={<IconArrowsMove size={14} />} onClick={() => setMoving(true)} disabled={app.data === undefined}>
              Move a ref here
            </Button>
          </>
        )
      }
    >
      {release === undefined ? (
        <Panel label="Release">{query.isError ? <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} /> : <Loading rows={10} />}</Panel>
      ) : (
        <>
          <Head project={project} release={release} />
          <Tabs value={tab} onChange={(value) => void navigate({ search: value === "parts" ? {} : { tab: RELEASE_TABS.find((t) => t === value) }, replace: true })} keepMounted={false}>
            <Tabs.List mb="md">
              <Tabs.Tab value="parts">Parts</Tabs.Tab>
              <Tabs.Tab value="gates">Gates</Tabs.Tab>
              <Tabs.Tab value="evidence">Evidence</Tabs.Tab>
              <Tabs.Tab value="running">What runs it</Tabs.Tab>
            </Tabs.List>
            <Tabs.Panel value="parts">
              <div className={css.stack}>
                <Parts release={release} />
              </div>
            </Tabs.Panel>
            <Tabs.Panel value="gates">{app.data ? <Gates project={project} app={release.app} digest={digest} refs={refs} /> : <Loading />}</Tabs.Panel>
            <Tabs.Panel value="evidence">
              <EvidencePanel project={project} digest={digest} />
            </Tabs.Panel>
            <Tabs.Panel value="running">{app.data ? <Running project={project} app={app.data} digest={digest} /> : <Loading />}</Tabs.Panel>
          </Tabs>
        </>
      )}
      {moving && release && app.data && <MoveRefModal project={project} app={release.app} digest={digest} refs={refs} close={() => setMoving(false)} />}
    </Page>
  );
}

function Head({ project, release }: { project: string; release: Release }) {
  return (
    <Panel label="About this release">
      <div className={css.about}>
        <Facts
          items={[
            [
              "Digest",
              <span key="d" className={css.digest}>
                <span className="mono">{release.digest}</span>
                <CopyButton value={release.digest} what="release digest" size="xs" />
              </span>,
            ],
            [
              "Refs",
              <span key="r" className={css.chips}>
                {release.refs.map((ref) => (
                  <Chip key={ref} tone="accent">
                    {ref}
                  </Chip>
                ))}
                {release.refs.length === 0 && <span className="dim">no ref stands here</span>}
                {release.dirty && (
                  <Chip tone="warn" tip="Its code holds changes that are in no commit; the release keeps them as a patch">
                    uncommitted code
                  </Chip>
                )}
              </span>,
            ],
          ]}
        />
        <Facts
          items={[
            ["Number", String(release.sequence)],
            ["Made", <span key="m"><Ago at={release.created_at} /> by {release.created_by}</span>],
            ["Why", release.reason],
            ["Expected", release.expected_outcome],
            [
              "Traces",
              <Link key="t" to="/p/$project/traces" params={{ project }} search={{ release: release.digest }} className="link">
                made with this release
              </Link>,
            ],
          ]}
        />
      </div>
    </Panel>
  );
}

/** Which refs serve it, and which code their callers announce. */
function Running({ project, app, digest }: { project: string; app: AppDetail; digest: string }) {
  const refs = app.refs.filter((ref: Ref) => ref.digest === digest);
  const codes = useQueries({ queries: refs.map((ref) => runningCodeQuery(project, app.name, ref.name)) });
  if (refs.length === 0)
    return (
      <Panel title="What runs it">
        <EmptyState title="No ref serves this release">Move a ref here, and callers of that ref are answered by it. Callers that pin its digest are answered in any case.</EmptyState>
      </Panel>
    );
  return (
    <div className={css.stack}>
      {refs.map((ref, i) => {
        const code = codes[i];
        return (
          <Panel key={ref.name} title={ref.name} note={code?.data ? `code that callers announced in the last ${duration(code.data.window_s * 1000)}` : "code that callers announced"} flush>
            {code?.data === undefined ? (
              code?.isError ? (
                <ErrorState error={code.error} retry={() => void code.refetch()} busy={code.isFetching} />
              ) : (
                <Loading rows={3} />
              )
            ) : code.data.announced.length === 0 ? (
              <p className={css.none}>
                Nobody announced code lately. Apps that send the header <code>x-tetrad-code</code> appear here.
              </p>
            ) : (
              <Scroll label={`Code that callers of ${ref.name} run`}>
                <table className={kit.table}>
                  <thead>
                    <tr>
                      <th scope="col">Code</th>
                      <th scope="col">Service</th>
                      <th scope="col" className={kit.right}>
                        Requests
                      </th>
                      <th scope="col">Last seen</th>
                    </tr>
                  </thead>
                  <tbody>
                    {code.data.announced.map((seen) => (
                      <tr key={`${seen.tree}${seen.key_id}${seen.service}`}>
                        <td>
                          <span className={css.chips}>
                            <span className="mono">{seen.tree === "" ? "unannounced" : shortDigest(seen.tree, 12)}</span>
                            <Chip tone={seen.matches ? "good" : "warn"}>{seen.matches ? "matches" : "differs"}</Chip>
                          </span>
                        </td>
                        <td>{seen.service || <span className="dim">–</span>}</td>
                        <td className={kit.right}>{count(seen.requests)}</td>
                        <td>
                          <Ago at={seen.last_seen} />
                        </td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              </Scroll>
            )}
          </Panel>
        );
      })}
    </div>
  );
}
