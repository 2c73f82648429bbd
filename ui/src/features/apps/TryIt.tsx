import { Tabs } from "@mantine/core";
import { useState } from "react";
import type { AppDetail, Release } from "@/api/apps";
import { Command } from "@/kit/Copy";
import { Panel } from "@/kit/Page";
import { snippets } from "./template";

/** How to call this app from where one is. */
export function TryIt({ app, release }: { app: AppDetail; release: Release | undefined }) {
  const ref = app.refs.find((r) => r.digest === release?.digest) ?? app.refs.find((r) => r.name === app.default_ref);
  const [label, setLabel] = useState("curl");
  const required = Object.fromEntries((release?.prompt ?? []).flatMap((p) => p.variables.filter((v) => v.required).map((v): [string, unknown] => [v.name, v.type === "string" ? "…" : v.type === "boolean" ? true : v.type === "array" ? [] : v.type === "object" ? {} : 1])));
  const all = snippets(app.name, ref?.name ?? app.default_ref, ref === undefined || ref.name === app.default_ref, required);
  const chosen = all.find((s) => s.label === label) ?? all[0];
  return (
    <Panel title="Try it" note={ref ? `answers by ${app.name}/${ref.name}` : undefined}>
      <Tabs value={label} onChange={(value) => setLabel(value ?? "curl")} variant="pills" mb={10}>
        <Tabs.List>
          {all.map((s) => (
            <Tabs.Tab key={s.label} value={s.label} py={4} px={10}>
              {s.label}
            </Tabs.Tab>
          ))}
        </Tabs.List>
      </Tabs>
      {chosen && <Command text={chosen.text} what="snippet" />}
    </Panel>
  );
}
