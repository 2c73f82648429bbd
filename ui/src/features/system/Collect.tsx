import { Button, Group, Modal, NumberInput } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { collect, type Collection } from "@/api/revocations";
import { useRevoked } from "@/features/revocations/useRevoked";
import { Failure } from "@/kit/Failure";
import { bytes, count, plural } from "@/kit/format";
import kit from "@/kit/kit.module.css";
import { Panel, Scroll } from "@/kit/Page";
import css from "./system.module.css";

/** What nothing of this project needs any more: first what would go, then, when an admin agrees, its going. */
export function Collect({ project }: { project: string }) {
  const [days, setDays] = useState<number | "">("");
  const [found, setFound] = useState<Collection | null>(null);
  const [asking, setAsking] = useState(false);
  const changed = useRevoked(project);
  const body = { versions_older_than_days: days === "" ? null : days };
  const look = useMutation({ mutationFn: () => collect(project, { ...body, run: false }), onSuccess: setFound });
  const run = useMutation({
    mutationFn: () => collect(project, { ...body, run: true }),
    onSuccess: (done) => {
      setFound(done);
      setAsking(false);
      changed();
    },
  });
  return (
    <Panel title="Collection" note="artifacts of this project that nothing needs" flush>
      <div className={css.collect}>
        <NumberInput
          label="Also versions older than"
          description="days, which nothing else needs; empty: no version goes"
          value={days}
          onChange={(value) => {
            setDays(typeof value === "number" ? value : "");
            setFound(null);
          }}
          min={0}
          max={36_500}
          allowDecimal={false}
          w={300}
        />
        <Button variant="default" loading={look.isPending} onClick={() => look.mutate()}>
          See what would go
        </Button>
        {found !== null && !found.ran && found.total.count + found.versions > 0 && (
          <Button color="red" variant="light" onClick={() => setAsking(true)}>
            Collect…
          </Button>
        )}
      </div>
      {look.error !== null && (
        <div className={css.collect}>
          <Failure error={look.error} />
        </div>
      )}
      {found && <Found found={found} />}
      {asking && found && (
        <Modal opened onClose={() => setAsking(false)} title="Collect?" size="lg">
          <div className={css.ask}>
            <p>
              {plural(found.total.count, "artifact")} of this project, {bytes(found.total.bytes)}, and {plural(found.versions, "version")} go for good. What is served, pinned, or needed by these stays. Files are given free with the next collection of the whole installation, as projects may share them.
            </p>
            <Failure error={run.error} />
            <Group justify="flex-end">
              <Button variant="default" onClick={() => setAsking(false)}>
                Cancel
              </Button>
              <Button color="red" loading={run.isPending} onClick={() => run.mutate()}>
                Collect
              </Button>
            </Group>
          </div>
        </Modal>
      )}
    </Panel>
  );
}

function Found({ found }: { found: Collection }) {
  const kept = Object.entries(found.kept).sort(([, a], [, b]) => b - a);
  return (
    <>
      <p className={css.found} role="status">
        {found.total.count + found.versions === 0 ? "Nothing goes: something needs all of it." : `${found.ran ? "Gone" : "Would go"}: ${plural(found.total.count, "artifact")}, ${bytes(found.total.bytes)}, ${plural(found.versions, "version")}, ${plural(found.rows, "row")} of datasets.`}
        {kept.length > 0 && <span className="dim"> Kept: {kept.map(([why, n]) => `${count(n)} by ${why}`).join(", ")}.</span>}
      </p>
      {Object.keys(found.gone).length > 0 && (
        <Scroll label={found.ran ? "What went" : "What would go"}>
          <table className={kit.table}>
            <thead>
              <tr>
                <th scope="col">Kind</th>
                <th scope="col" className={kit.right}>
                  Artifacts
                </th>
                <th scope="col" className={kit.right}>
                  Size
                </th>
              </tr>
            </thead>
            <tbody>
              {Object.entries(found.gone).map(([kind, amount]) => (
                <tr key={kind}>
                  <td>{kind}</td>
                  <td className={kit.right}>{count(amount.count)}</td>
                  <td className={kit.right}>{bytes(amount.bytes)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
    </>
  );
}
