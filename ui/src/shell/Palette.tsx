import { useMantineColorScheme } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { Spotlight, createSpotlight, type SpotlightActionData } from "@mantine/spotlight";
import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { IconApps, IconArrowRight, IconHelp, IconMoon, IconSun, IconTimeline } from "@tabler/icons-react";
import { useEffect, useMemo, useState } from "react";
import { appsQuery } from "@/api/apps";
import { sessionQuery } from "@/api/session";
import { GATEWAY_PAGES } from "@/features/gateway/pages";
import { PAGES } from "./Shell";
import { useArtifacts } from "./useArtifacts";

const [store, spotlight] = createSpotlight();

/** A trace id in what somebody pasted: bare, or inside a `traceparent`. */
export function traceIdIn(text: string): string | null {
  const match = /(?:^|[^0-9a-f])(?:00-)?([0-9a-f]{32})(?=$|[^0-9a-f])/i.exec(text.trim());
  const id = match?.[1]?.toLowerCase() ?? null;
  return id === "0".repeat(32) ? null : id;
}

/** Shorter words find nearly everything, and everything is on the pages. */
const LEAST_LETTERS = 2;

/** Pages; prompts, datasets, models and releases by name; apps, projects, themes; any trace by its id. */
export function Palette({ project, close, openHelp }: { project: string; close: () => void; openHelp: () => void }) {
  const navigate = useNavigate();
  const { setColorScheme } = useMantineColorScheme();
  const apps = useQuery(appsQuery(project));
  const session = useQuery(sessionQuery);
  const [query, setQuery] = useState("");
  useEffect(() => spotlight.open(), []);
  const [asked] = useDebouncedValue(query.trim(), 200);
  const artifacts = useArtifacts(project, asked.length >= LEAST_LETTERS ? asked : "");

  const traceId = traceIdIn(query);
  const actions = useMemo(() => {
    const groups: { group: string; actions: SpotlightActionData[] }[] = [];
    if (traceId !== null) {
      groups.push({ group: "Trace", actions: [{ id: "trace", label: `Open trace ${traceId}`, keywords: [query], leftSection: <IconTimeline size={16} />, onClick: () => void navigate({ to: "/p/$project/traces/$trace", params: { project, trace: traceId } }) }] });
    }
    groups.push({
      group: "Pages",
      actions: [
        ...PAGES.map((page) => ({ id: page.to, label: page.label, leftSection: <page.icon size={16} />, onClick: () => void navigate({ to: page.to, params: { project } }) })),
        ...GATEWAY_PAGES.map((page) => ({ id: page.to, label: `Gateway: ${page.label}`, leftSection: <IconArrowRight size={16} />, onClick: () => void navigate({ to: page.to, params: { project } }) })),
      ],
    });
    if (apps.data && apps.data.length > 0)
      groups.push({
        group: "Apps",
        actions: apps.data.map((app) => ({ id: `app-${app.name}`, label: app.name, keywords: ["app", app.name], leftSection: <IconApps size={16} />, onClick: () => void navigate({ to: "/p/$project/apps/$app", params: { project, app: app.name } }) })),
      });
    for (const { group, found } of artifacts)
      if (found.length > 0)
        groups.push({
          group,
          // What the server found may match by more than what is shown: the words of the query stand beside it.
          actions: found.map((each) => ({ id: `${group}-${each.id}`, label: each.label, description: each.description, keywords: [query, asked], leftSection: each.icon, onClick: each.open })),
        });
    const others = session.data?.projects.filter((p) => p.name !== project) ?? [];
    if (others.length > 0)
      groups.push({ group: "Projects", actions: others.map((p) => ({ id: `project-${p.name}`, label: `Switch to ${p.title}`, leftSection: <IconArrowRight size={16} />, onClick: () => void navigate({ to: "/p/$project/overview", params: { project: p.name } }) })) });
    groups.push({
      group: "Console",
      actions: [
        { id: "dark", label: "Dark theme", leftSection: <IconMoon size={16} />, onClick: () => setColorScheme("dark") },
        { id: "light", label: "Light theme", leftSection: <IconSun size={16} />, onClick: () => setColorScheme("light") },
        { id: "keys", label: "Keyboard shortcuts", leftSection: <IconHelp size={16} />, onClick: openHelp },
      ],
    });
    return groups;
  }, [apps.data, artifacts, asked, session.data, navigate, openHelp, project, query, setColorScheme, traceId]);

  // What comes after the last letter was typed finds nothing selected, and Enter would do nothing.
  useEffect(() => {
    const list = document.getElementById(store.getState().listId);
    const first = list?.querySelector("[data-action]");
    if (query === "" || !first || list?.querySelector("[data-selected]")) return;
    first.setAttribute("data-selected", "true");
    store.updateState((state) => ({ ...state, selected: 0 }));
  }, [actions, query]);

  return (
    <Spotlight
      store={store}
      actions={actions}
      query={query}
      onQueryChange={setQuery}
      onSpotlightClose={close}
      shortcut={null}
      highlightQuery
      scrollable
      maxHeight={420}
      nothingFound="Nothing by that name. Paste a trace id to open the trace, or a digest to open the release."
      searchProps={{ leftSection: <IconArrowRight size={16} />, placeholder: "A page, an app, a prompt, dataset, model or release, or a trace id…", "aria-label": "Search and commands" }}
    />
  );
}
