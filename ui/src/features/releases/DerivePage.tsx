import { ActionIcon, Button, Loader, Select, Textarea, TextInput, Tooltip } from "@mantine/core";
import { keepPreviousData, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { IconArrowBackUp, IconPlus } from "@tabler/icons-react";
import { useMemo, useState } from "react";
import { appsQuery, releaseQuery, type Release } from "@/api/apps";
import { versionsQuery } from "@/api/registry";
import { deriveRelease, previewQuery, releasesQuery } from "@/api/releases";
import { Crumbs } from "@/kit/Crumbs";
import { shown } from "@/kit/Diff";
import { Failure } from "@/kit/Failure";
import { plural, shortDigest } from "@/kit/format";
import { PartGlyph } from "@/kit/Mark";
import { Page, Panel } from "@/kit/Page";
import { EmptyState, ErrorState, Loading } from "@/kit/States";
import { useInfiniteQuery } from "@tanstack/react-query";
import { patched, readParameter, readPatches, slotsOf, splitReference, writePatches, type Patches, type Slot } from "./patches";
import { ReleaseDiffView } from "./ReleaseDiffView";
import css from "./releases.module.css";

const route = getRouteApi("/signed-in/p/$project/releases/derive");
const KINDS = { prompt: "prompt", model: "model", data: "dataset" } as const;

/** The next release out of one that is there and other parts; what changes is seen before anything is made. */
export function DerivePage() {
  const { project } = route.useParams();
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const apps = useQuery(appsQuery(project));
  const from = search.from ?? "";
  const [app, ref] = from.includes("/") ? from.split("/") : ["", ""];
  const digest = from.startsWith("sha256:") ? from : (apps.data?.find((each) => each.name === app)?.refs.find((each) => each.name === ref)?.digest ?? "");
  const base = useQuery(releaseQuery(project, digest));
  const patches = useMemo(() => readPatches(search.set), [search.set]);
  const set = (next: Patches): void => void navigate({ search: { from: search.from, set: writePatches(next) }, replace: true });
  const missing = apps.data !== undefined && digest === "";
  return (
    <Page
      title="Derive a release"
      heading={
        <Crumbs
          up={[
            <Link key="all" to="/p/$project/releases" params={{ project }} search={base.data ? { app: base.data.app } : {}} className="link">
              Releases
            </Link>,
          ]}
        >
          Derive a release
        </Crumbs>
      }
    >
      <Panel title="Base" note="the release that the next one comes from; its code stays as it is">
        <Base project={project} from={from} digest={digest} app={base.data?.app ?? app ?? ""} choose={(value) => void navigate({ search: { from: value }, replace: true })} />
      </Panel>
      {missing ? (
        <Panel label="Parts">
          <EmptyState title="From which release?">{apps.data.length === 0 ? "This project has no app yet: compose its first release from a folder." : "Choose an app and one of its refs or releases above."}</EmptyState>
        </Panel>
      ) : base.data === undefined ? (
        <Panel label="Parts">{base.isError ? <ErrorState error={base.error} retry={() => void base.refetch()} busy={base.isFetching} /> : <Loading rows={8} />}</Panel>
      ) : (
        <>
          <PartsForm key={digest} project={project} base={base.data} patches={patches} set={set} />
          <Outcome project={project} base={base.data} patches={patches} />
        </>
      )}
    </Page>
  );
}

function Base({ project, from, digest, app, choose }: { project: string; from: string; digest: string; app: string; choose: (from: string) => void }) {
  const apps = useQuery(appsQuery(project));
  const releases = useInfiniteQuery(releasesQuery(project, app));
  const refs = apps.data?.find((each) => each.name === app)?.refs ?? [];
  const listed = releases.data?.pages.flatMap((page) => page.items) ?? [];
  const known = listed.some((release) => release.digest === digest);
  return (
    <div className={css.base}>
      <Select
        label="App"
        data={(apps.data ?? []).map((each) => each.name)}
        value={app || null}
        onChange={(name) => {
          const chosen = apps.data?.find((each) => each.name === name);
          const first = chosen?.refs.find((each) => each.name === chosen.default_ref) ?? chosen?.refs[0];
          if (chosen && first) choose(`${chosen.name}/${first.name}`);
        }}
        allowDeselect={false}
        w={180}
      />
      <Select
        label="Release"
        data={[
          { group: "Refs", items: refs.map((ref) => ({ value: `${app}/${ref.name}`, label: `${ref.name}, now ${shortDigest(ref.digest, 12)}` })) },
          { group: "Releases", items: [...listed.map((release) => ({ value: release.digest, label: `${release.sequence}: ${shortDigest(release.digest, 12)}${release.reason === "" ? "" : `, ${release.reason.slice(0, 60)}`}` })), ...(from.startsWith("sha256:") && !known ? [{ value: from, label: shortDigest(from, 12) }] : [])] },
        ]}
        value={from || null}
        onChange={(value) => value && choose(value)}
        allowDeselect={false}
        searchable
        className={css.wide ?? ""}
      />
    </div>
  );
}

function PartsForm({ project, base, patches, set }: { project: string; base: Release; patches: Patches; set: (next: Patches) => void }) {
  return (
    <Panel title="Parts" note="choose what becomes another">
      <div className={css.slots}>
        {slotsOf(base).map((slot) => (
          <SlotRow key={slot.key} project={project} slot={slot} value={patches[slot.key]} set={(value) => set(patched(patches, slot.key, value))} />
        ))}
      </div>
      <Sampling base={base} patches={patches} set={set} />
    </Panel>
  );
}

/** One part: which name and version stands there next. */
function SlotRow({ project, slot, value, set }: { project: string; slot: Slot; value: unknown; set: (value: unknown) => void }) {
  const kind = KINDS[slot.kind];
  const wanted = value === undefined ? { name: slot.name, version: slot.version } : splitReference(value);
  const names = useQuery(versionsQuery(project, kind));
  const versions = useQuery({ ...versionsQuery(project, kind, wanted.name), enabled: wanted.name !== "" });
  const offered = (versions.data ?? []).map((each) => ({ value: each.semver, label: `${each.semver}${each.reason === "" ? "" : `, ${each.reason.slice(0, 50)}`}` }));
  const change = (name: string, version: string): void => set(name === slot.name && version === slot.version ? undefined : version === "" ? name : `${name}@${version}`);
  const label = `${slot.kind} ${slot.role}`;
  return (
    <div className={css.slot} data-changed={value !== undefined} role="group" aria-label={label}>
      <span className={css.slotName}>
        <PartGlyph part={slot.kind} size={15} />
        {slot.kind}, {slot.role}
      </span>
      {value === null ? (
        <span className={css.gone}>taken away</span>
      ) : (
        <span className={css.pickers}>
          <Select aria-label={`${label}: name`} data={[...new Set([...(names.data ?? []).map((each) => each.name), wanted.name])]} value={wanted.name} onChange={(name) => name && change(name, name === slot.name ? slot.version : (names.data?.find((each) => each.name === name)?.semver ?? ""))} allowDeselect={false} searchable className={css.wide ?? ""} />
          <Select aria-label={`${label}: version`} data={offered.some((each) => each.value === wanted.version) || wanted.version === "" ? offered : [{ value: wanted.version, label: wanted.version }, ...offered]} value={wanted.version || null} placeholder="newest" onChange={(version) => change(wanted.name, version ?? "")} allowDeselect={false} searchable={offered.length > 10} className={css.wide ?? ""} />
        </span>
      )}
      <span className={css.slotSide}>
        {value === undefined ? (
          !(slot.kind === "model" && slot.role === "primary") && (
            <Button variant="subtle" color="gray" size="compact-xs" onClick={() => set(null)} aria-label={`Take away ${label}`}>
              Take away
            </Button>
          )
        ) : (
          <Button variant="subtle" size="compact-xs" leftSection={<IconArrowBackUp size={13} />} onClick={() => set(undefined)} aria-label={`As it was: ${label}`}>
            As it was
          </Button>
        )}
      </span>
    </div>
  );
}

function Sampling({ base, patches, set }: { base: Release; patches: Patches; set: (next: Patches) => void }) {
  const [name, setName] = useState("");
  const added = Object.keys(patches)
    .filter((key) => key.startsWith("sampling."))
    .map((key) => key.slice(9));
  const all = [...new Set([...Object.keys(base.params), ...added])].sort();
  const proper = /^[a-z][a-z0-9_]{0,63}$/.test(name);
  return (
    <>
      <h3 className={css.sub}>Sampling</h3>
      <div className={css.params}>
        {all.map((param) => {
          const key = `sampling.${param}`;
          const before = base.params[param];
          return (
            <Parameter key={`${param}-${String(patches[key] === undefined)}`} name={param} before={before} value={patches[key]} set={(value) => set(patched(patches, key, value !== undefined && JSON.stringify(value) === JSON.stringify(before) ? undefined : value))} />
          );
        })}
        <form
          className={css.addParam}
          onSubmit={(event) => {
            event.preventDefault();
            if (proper && !all.includes(name)) set(patched(patches, `sampling.${name}`, 0));
            setName("");
          }}
        >
          <TextInput aria-label="Another parameter" placeholder="another" value={name} onChange={(event) => setName(event.currentTarget.value.trim())} w={130} error={name !== "" && !proper ? "Lower case letters, digits, _" : undefined} />
          <Tooltip label="Add the parameter">
            <ActionIcon type="submit" variant="default" aria-label="Add the parameter" disabled={!proper}>
              <IconPlus size={14} />
            </ActionIcon>
          </Tooltip>
        </form>
      </div>
    </>
  );
}

function Parameter({ name, before, value, set }: { name: string; before: unknown; value: unknown; set: (value: unknown) => void }) {
  const [text, setText] = useState(value === undefined ? (before === undefined ? "" : shown(before)) : value === null ? "" : shown(value));
  return (
    <TextInput
      label={<span className="mono">{name}</span>}
      description={value === undefined ? undefined : before === undefined ? "new" : `was ${shown(before)}`}
      inputWrapperOrder={["label", "input", "description"]}
      value={text}
      onChange={(event) => setText(event.currentTarget.value)}
      onBlur={() => set(text.trim() === "" ? (before === undefined ? undefined : null) : readParameter(text))}
      onKeyDown={(event) => event.key === "Enter" && event.currentTarget.blur()}
      data-changed={value !== undefined}
      w={130}
    />
  );
}

/** What would come of it, then its making. */
function Outcome({ project, base, patches }: { project: string; base: Release; patches: Patches }) {
  const navigate = route.useNavigate();
  const queries = useQueryClient();
  const [reason, setReason] = useState("");
  const [outcome, setOutcome] = useState("");
  const size = Object.keys(patches).length;
  const preview = useQuery({ ...previewQuery(project, { from: base.digest, set: patches }, size > 0), placeholderData: keepPreviousData });
  const make = useMutation({
    mutationFn: () => deriveRelease(project, { from: base.digest, set: patches, reason, expected_outcome: outcome }),
    onSuccess: (made) => {
      for (const key of ["releases", "versions", "lineage"]) void queries.invalidateQueries({ queryKey: [key, project] });
      void navigate({ to: "/p/$project/releases/$digest", params: { project, digest: made.digest } });
    },
  });
  if (size === 0)
    return (
      <Panel label="Changes">
        <EmptyState title="Nothing is changed yet">Choose another version of a part, or another parameter, and see here what that changes before anything is made.</EmptyState>
      </Panel>
    );
  const same = preview.data?.diff.same === true;
  return (
    <>
      <section aria-label="Changes" aria-busy={preview.isFetching} className={css.stack}>
        <div className={css.previewHead}>
          <h2>What changes</h2>
          {preview.isFetching && <Loader size={14} />}
          <span className="dim">{plural(size, "part or parameter", "parts and parameters")} chosen; nothing is kept yet</span>
        </div>
        {preview.isError ? (
          <Failure error={preview.error} />
        ) : preview.data === undefined ? (
          <Panel label="Changes">
            <Loading rows={5} />
          </Panel>
        ) : same ? (
          <Panel label="Changes">
            <ReleaseDiffView project={project} diff={preview.data.diff} />
          </Panel>
        ) : (
          <>
            {preview.data.notes.map((note, i) => (
              <p key={i} className={css.noteLine}>
                {note}
              </p>
            ))}
            <ReleaseDiffView project={project} diff={preview.data.diff} />
          </>
        )}
      </section>
      <Panel title="Make it">
        <form
          className={css.form}
          onSubmit={(event) => {
            event.preventDefault();
            make.mutate();
          }}
        >
          <Textarea label="Reason" description="Why there is another release" value={reason} onChange={(event) => setReason(event.currentTarget.value)} autosize minRows={2} maxRows={6} maxLength={4000} size="xs" required />
          <Textarea label="Expected outcome" description="What should be better, so that it can be looked at later" value={outcome} onChange={(event) => setOutcome(event.currentTarget.value)} autosize minRows={2} maxRows={6} maxLength={4000} size="xs" />
          <Failure error={make.error} />
          <div className={css.make}>
            {preview.data && !preview.isError && (
              <span className="dim">
                Its digest will be <span className="mono">{shortDigest(preview.data.digest, 12)}</span>
              </span>
            )}
            <Button type="submit" loading={make.isPending} disabled={preview.isError || same || preview.isPending || reason.trim() === ""}>
              Create release
            </Button>
          </div>
        </form>
      </Panel>
    </>
  );
}
