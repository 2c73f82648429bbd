import { Button, Checkbox, Select } from "@mantine/core";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { IconArrowBackUp, IconGitCompare, IconPackage, IconPlus } from "@tabler/icons-react";
import { useState } from "react";
import { appsQuery, type App, type Ref } from "@/api/apps";
import { releasesQuery, type ReleaseListed } from "@/api/releases";
import { Chip } from "@/kit/Chips";
import { Command } from "@/kit/Copy";
import { shortDigest } from "@/kit/format";
import kit from "@/kit/kit.module.css";
import { LinkButton } from "@/kit/LinkButton";
import { More } from "@/kit/Lists";
import { Page, Panel, Scroll } from "@/kit/Page";
import { EmptyState, ErrorState, Loading } from "@/kit/States";
import { Ago } from "@/kit/time";
import { RollBackModal } from "./RefModals";
import css from "./releases.module.css";

const route = getRouteApi("/signed-in/p/$project/releases");

/** The releases of an app, newest first, and the refs that stand at them. */
export function ReleasesPage() {
  const { project } = route.useParams();
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const apps = useQuery(appsQuery(project));
  const app = apps.data?.find((each) => each.name === search.app) ?? apps.data?.[0];
  const unknown = search.app !== undefined && apps.data !== undefined && app?.name !== search.app;
  return (
    <Page
      title="Releases"
      side={
        app && (
          <>
            <Select aria-label="App" data={(apps.data ?? []).map((each) => each.name)} value={unknown ? null : app.name} placeholder={search.app} onChange={(value) => void navigate({ search: value === null ? {} : { app: value } })} allowDeselect={false} searchable={(apps.data ?? []).length > 10} w={180} />
            {!unknown && app.refs.length > 0 && (
              <LinkButton to="/p/$project/releases/derive" params={{ project }} search={{ from: `${app.name}/${main(app).name}` }} leftSection={<IconPlus size={14} />}>
                Derive a release
              </LinkButton>
            )}
          </>
        )
      }
    >
      {apps.data === undefined ? (
        <Panel label="Releases">{apps.isError ? <ErrorState error={apps.error} retry={() => void apps.refetch()} busy={apps.isFetching} /> : <Loading />}</Panel>
      ) : unknown ? (
        <Panel label="Releases">
          <EmptyState title={`This project has no app “${search.app ?? ""}”`}>Choose another one above.</EmptyState>
        </Panel>
      ) : app === undefined ? (
        <Panel label="Releases">
          <EmptyState icon={<IconPackage size={28} stroke={1.4} color="var(--t-accent)" />} title="No releases in this project" more={<Command text="tetrad release compose examples/assistant" />}>
            A release pins code, data, model and prompt of an app. The first is composed of the app's folder; the next ones can be derived here.
          </EmptyState>
        </Panel>
      ) : (
        <Loaded key={app.name} project={project} app={app} />
      )}
    </Page>
  );
}

export function main(app: App): Ref {
  const ref = app.refs.find((each) => each.name === app.default_ref) ?? app.refs[0];
  if (ref === undefined) throw new Error(`the app ${app.name} has no ref`);
  return ref;
}

function Loaded({ project, app }: { project: string; app: App }) {
  const navigate = route.useNavigate();
  const query = useInfiniteQuery(releasesQuery(project, app.name));
  const releases = query.data?.pages.flatMap((page) => page.items) ?? [];
  const [chosen, setChosen] = useState<string[]>([]);
  const [back, setBack] = useState<Ref | null>(null);
  const compare = (): void => {
    // The older of the two is what changes are told from.
    const [now, old] = releases.filter((release) => chosen.includes(release.digest));
    if (old && now) void navigate({ to: "/p/$project/releases/diff", params: { project }, search: { from: old.digest, to: now.digest } });
  };
  return (
    <>
      <section className={css.refs} aria-label="Refs">
        {app.refs.map((ref) => (
          <div key={ref.name} className={css.ref}>
            <div className={css.refHead}>
              <strong>{ref.name}</strong>
              {ref.name === app.default_ref && <span className="dim">default</span>}
              {ref.governed && <Chip tip="Moves only through its gate">gated</Chip>}
            </div>
            <Link to="/p/$project/releases/$digest" params={{ project, digest: ref.digest }} className="link mono" title={ref.digest}>
              {shortDigest(ref.digest, 12)}
            </Link>
            <span className="dim">
              moved <Ago at={ref.moved_at} /> by {ref.moved_by}
            </span>
            {ref.revision > 1 && (
              <button type="button" className={css.back} onClick={() => setBack(ref)}>
                <IconArrowBackUp size={13} /> Roll back…
              </button>
            )}
          </div>
        ))}
      </section>
      <Panel
        title="Releases"
        note="newest first"
        side={
          <Button variant="default" size="compact-xs" leftSection={<IconGitCompare size={13} />} disabled={chosen.length !== 2} onClick={compare}>
            {chosen.length === 2 ? "Compare the two" : "Choose two to compare"}
          </Button>
        }
        flush
      >
        {query.data === undefined ? (
          query.isError ? (
            <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} />
          ) : (
            <Loading />
          )
        ) : (
          <>
            <Table project={project} releases={releases} chosen={chosen} choose={(digest) => setChosen((old) => (old.includes(digest) ? old.filter((d) => d !== digest) : [...old.slice(-1), digest]))} />
            <More has={query.hasNextPage} busy={query.isFetchingNextPage} load={() => void query.fetchNextPage()} what="older releases" />
          </>
        )}
      </Panel>
      {back && <RollBackModal project={project} app={app.name} current={app.refs.find((ref) => ref.name === back.name) ?? back} close={() => setBack(null)} />}
    </>
  );
}

function Table({ project, releases, chosen, choose }: { project: string; releases: ReleaseListed[]; chosen: string[]; choose: (digest: string) => void }) {
  return (
    <Scroll label="Releases">
      <table className={kit.table}>
        <thead>
          <tr>
            <th scope="col">
              <span className="unseen">Compare</span>
            </th>
            <th scope="col" className={kit.right}>
              No.
            </th>
            <th scope="col">Release</th>
            <th scope="col">Refs</th>
            <th scope="col">Made</th>
            <th scope="col">Why</th>
            <th scope="col">Expected outcome</th>
          </tr>
        </thead>
        <tbody>
          {releases.map((release) => (
            <tr key={release.digest}>
              <td>
                <span style={{ display: "inline-flex" }}>
                  <Checkbox size="xs" aria-label={`Compare number ${release.sequence}`} checked={chosen.includes(release.digest)} onChange={() => choose(release.digest)} />
                </span>
              </td>
              <td className={kit.right}>{release.sequence}</td>
              <td>
                <span className={css.chips}>
                  <Link to="/p/$project/releases/$digest" params={{ project, digest: release.digest }} className="link mono" title={release.digest}>
                    {shortDigest(release.digest, 12)}
                  </Link>
                  {release.dirty && (
                    <Chip tone="warn" tip="Its code holds changes that are in no commit">
                      uncommitted
                    </Chip>
                  )}
                </span>
              </td>
              <td>
                <span className={css.chips}>
                  {release.refs.map((ref) => (
                    <Chip key={ref} tone="accent">
                      {ref}
                    </Chip>
                  ))}
                </span>
              </td>
              <td className={css.when}>
                <Ago at={release.created_at} /> by {release.created_by}
              </td>
              <td className={css.why}>{release.reason}</td>
              <td className={css.why}>{release.expected_outcome}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}
