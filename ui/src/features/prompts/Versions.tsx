import { Button, Modal, Select, TextInput } from "@mantine/core";
import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { IconArrowRight, IconTag } from "@tabler/icons-react";
import { useState } from "react";
import { moveLabel, promptDiffQuery, promptLabelsQuery, promptVersionsQuery, type PromptVersion } from "@/api/prompts";
import { Chip } from "@/kit/Chips";
import { Failure } from "@/kit/Failure";
import { shortDigest } from "@/kit/format";
import kit from "@/kit/kit.module.css";
import { Panel, Scroll } from "@/kit/Page";
import { ErrorState, Loading } from "@/kit/States";
import { Ago } from "@/kit/time";
import { FloorNote, PromptDiff } from "./PromptDiff";
import css from "./prompts.module.css";

/** Every version of a prompt: who made it, when, why, and what they expected of it. */
export function History({ project, name }: { project: string; name: string }) {
  const query = useInfiniteQuery(promptVersionsQuery(project, name));
  const labels = useQuery(promptLabelsQuery(project, name));
  const [labelling, setLabelling] = useState<PromptVersion | null>(null);
  const versions = query.data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <Panel label="Versions" title="Versions" note="newest first" flush>
      {query.data === undefined ? (
        query.isError ? (
          <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} />
        ) : (
          <Loading />
        )
      ) : (
        <>
          <Scroll label="Versions">
            <table className={kit.table}>
              <thead>
                <tr>
                  <th scope="col">Version</th>
                  <th scope="col">Made</th>
                  <th scope="col">By</th>
                  <th scope="col">Why</th>
                  <th scope="col">Expected outcome</th>
                  <th scope="col">Digest</th>
                  <th scope="col">
                    <span className="unseen">Actions</span>
                  </th>
                </tr>
              </thead>
              <tbody>
                {versions.map((version, n) => {
                  const before = versions[n + 1];
                  return (
                    <tr key={version.sequence}>
                      <td>
                        <span className={css.versionCell}>
                          <Link to="/p/$project/prompts/$prompt" params={{ project, prompt: name }} search={n === 0 ? {} : { version: version.semver }} className="link">
                            {version.semver}
                          </Link>
                          {labels.data?.filter((label) => label.digest === version.digest).map((label) => (
                            <Chip key={label.label} tone="accent">
                              {label.label}
                            </Chip>
                          ))}
                        </span>
                      </td>
                      <td style={{ whiteSpace: "nowrap" }}>
                        <Ago at={version.created_at} />
                      </td>
                      <td>{version.created_by}</td>
                      <td className={css.prose}>{version.reason || <span className="dim">–</span>}</td>
                      <td className={css.prose}>{version.expected_outcome || <span className="dim">–</span>}</td>
                      <td className="mono dim" title={version.digest}>
                        {shortDigest(version.digest)}
                      </td>
                      <td style={{ whiteSpace: "nowrap", textAlign: "right" }}>
                        {before && (
                          <Link to="/p/$project/prompts/$prompt" params={{ project, prompt: name }} search={{ tab: "compare", from: before.semver, to: version.semver }} className="link">
                            Compare<span className="unseen"> {version.semver} with the version before</span>
                          </Link>
                        )}{" "}
                        <Button variant="subtle" color="gray" size="compact-xs" aria-label={`Label ${version.semver}`} leftSection={<IconTag size={13} />} onClick={() => setLabelling(version)}>
                          Label
                        </Button>
                      </td>
                    </tr>
                  );
                })}
              </tbody>
            </table>
          </Scroll>
          {query.hasNextPage && (
            <div className={css.more}>
              <Button variant="default" loading={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>
                Show older versions
              </Button>
            </div>
          )}
        </>
      )}
      {labelling && <LabelModal project={project} version={labelling} labels={labels.data ?? []} close={() => setLabelling(null)} />}
    </Panel>
  );
}

function LabelModal({ project, version, labels, close }: { project: string; version: PromptVersion; labels: readonly { label: string; digest: string }[]; close: () => void }) {
  const [label, setLabel] = useState("");
  const [reason, setReason] = useState("");
  const queries = useQueryClient();
  const move = useMutation({
    mutationFn: () => moveLabel(project, version.name, label.trim(), version.semver, reason, labels.find((each) => each.label === label.trim())?.digest ?? null),
    onSuccess: () => {
      close();
      void queries.invalidateQueries({ queryKey: ["prompt-labels", project, version.name] });
    },
  });
  return (
    <Modal opened onClose={close} title={`Label ${version.name} ${version.semver}`}>
      <form
        className={css.modal}
        onSubmit={(event) => {
          event.preventDefault();
          if (label.trim() !== "") move.mutate();
        }}
      >
        <Failure error={move.error} />
        <TextInput label="Label" description={labels.length > 0 ? `There are: ${labels.map((each) => each.label).join(", ")}` : "Such as production; programs may ask for the prompt by it"} required maxLength={63} data-autofocus value={label} onChange={(event) => setLabel(event.currentTarget.value)} />
        <TextInput label="Why" maxLength={500} value={reason} onChange={(event) => setReason(event.currentTarget.value)} />
        <div className={css.buttons}>
          <Button variant="default" onClick={close}>
            Cancel
          </Button>
          <Button type="submit" loading={move.isPending} disabled={label.trim() === ""}>
            Point it here
          </Button>
        </div>
      </form>
    </Modal>
  );
}

/** Any two versions, told apart message by message. */
export function Compare({ project, name, from, to }: { project: string; name: string; from: string | undefined; to: string | undefined }) {
  const navigate = useNavigate();
  const query = useInfiniteQuery(promptVersionsQuery(project, name));
  const versions = query.data?.pages.flatMap((page) => page.items) ?? [];
  const now = to ?? versions[0]?.semver ?? "";
  const old = from ?? versions[versions.findIndex((v) => v.semver === now) + 1]?.semver ?? "";
  const diff = useQuery(promptDiffQuery(project, name, old, now));
  const set = (next: { from: string; to: string }): void => void navigate({ to: "/p/$project/prompts/$prompt", params: { project, prompt: name }, search: { tab: "compare", ...next }, replace: true });
  const options = [...new Set([...versions.map((v) => v.semver), old, now])].filter((v) => v !== "");
  return (
    <Panel label="Compare" title="Compare two versions">
      {versions.length === 1 && from === undefined ? (
        <p className="dim">There is one version so far: save a second one, and it is compared with the first here.</p>
      ) : (
        <>
          <div className={css.pair}>
            <Select label="Before" data={options} value={old} allowDeselect={false} onChange={(value) => set({ from: value ?? "", to: now })} />
            <IconArrowRight size={16} aria-hidden="true" />
            <Select label="After" data={options} value={now} allowDeselect={false} onChange={(value) => set({ from: old, to: value ?? "" })} />
          </div>
          {diff.data ? (
            <>
              {!diff.data.same && <FloorNote floor={diff.data.floor} />}
              <div style={{ marginTop: 12 }}>
                <PromptDiff diff={diff.data} />
              </div>
            </>
          ) : diff.isError ? (
            <ErrorState error={diff.error} retry={() => void diff.refetch()} busy={diff.isFetching} />
          ) : (
            <Loading />
          )}
        </>
      )}
    </Panel>
  );
}
