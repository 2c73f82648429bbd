import { ActionIcon, Burger, Drawer, Kbd, Menu, Tooltip, useMantineColorScheme, type MantineColorScheme } from "@mantine/core";
import { useDisclosure, useHotkeys } from "@mantine/hooks";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, Link, Outlet, useNavigate, useRouter, useRouterState } from "@tanstack/react-router";
import {
  IconActivity,
  IconApps,
  IconArrowFork,
  IconChevronDown,
  IconCpu,
  IconDatabase,
  IconDeviceDesktop,
  IconGitPullRequest,
  IconHelp,
  IconLogout,
  IconMessage2Code,
  IconMessages,
  IconMoon,
  IconPackage,
  IconPlugConnected,
  IconSearch,
  IconServer2,
  IconShieldCheck,
  IconSun,
  IconTimeline,
} from "@tabler/icons-react";
import { lazy, Suspense, useEffect, useState, type ReactNode } from "react";
import { asProblem } from "@/api/problem";
import { sessionQuery, signOut } from "@/api/session";
import { statusQuery, systemHealth } from "@/api/status";
import { Dot } from "@/kit/Chips";
import { Mark } from "@/kit/Mark";
import { useGoKeys } from "./keys";
import css from "./shell.module.css";

const Palette = lazy(() => import("./Palette").then((m) => ({ default: m.Palette })));
const KeysHelp = lazy(() => import("./KeysHelp").then((m) => ({ default: m.KeysHelp })));
const route = getRouteApi("/signed-in/p/$project");

export const PAGES = [
  { to: "/p/$project/overview", label: "Overview", icon: IconActivity, key: "o", group: "" },
  { to: "/p/$project/apps", label: "Apps", icon: IconApps, key: "a", group: "Release" },
  { to: "/p/$project/prompts", label: "Prompts", icon: IconMessage2Code, key: "p", group: "Release" },
  { to: "/p/$project/datasets", label: "Datasets", icon: IconDatabase, key: "d", group: "Release" },
  { to: "/p/$project/models", label: "Models", icon: IconCpu, key: "m", group: "Release" },
  { to: "/p/$project/releases", label: "Releases", icon: IconPackage, key: "r", group: "Release" },
  { to: "/p/$project/changes", label: "Change requests", icon: IconGitPullRequest, key: "c", group: "Release" },
  { to: "/p/$project/playground", label: "Playground", icon: IconMessages, key: "y", group: "Release" },
  { to: "/p/$project/traces", label: "Traces", icon: IconTimeline, key: "t", group: "Observe" },
  { to: "/p/$project/audit", label: "Audit", icon: IconShieldCheck, key: "u", group: "Observe" },
  { to: "/p/$project/gateway", label: "Gateway", icon: IconArrowFork, key: "w", group: "Operate" },
  { to: "/p/$project/bindings", label: "Bindings", icon: IconPlugConnected, key: "b", group: "Operate" },
  { to: "/p/$project/system", label: "System", icon: IconServer2, key: "s", group: "Operate" },
] as const;

/** The frame of every page: navigation, project, palette, theme. */
export function Shell() {
  const { project } = route.useParams();
  const navigate = useNavigate();
  const [palette, paletteControls] = useDisclosure(false);
  const [help, helpControls] = useDisclosure(false);
  const [drawer, drawerControls] = useDisclosure(false);
  const path = useRouterState({ select: (state) => state.location.pathname });
  useEffect(() => drawerControls.close(), [path, drawerControls]);

  useHotkeys([["mod+K", paletteControls.toggle]], []);
  useHotkeys([["shift+?", helpControls.open], ["?", helpControls.open]]);
  useGoKeys({
    ...Object.fromEntries(PAGES.map((page) => [page.key, () => void navigate({ to: page.to, params: { project } })])),
    k: () => void navigate({ to: "/p/$project/gateway/keys", params: { project } }),
  });

  const rail = <Rail project={project} openPalette={paletteControls.open} openHelp={helpControls.open} />;
  return (
    <div className={css.shell}>
      <a href="#main" className={css.skip}>
        Skip to content
      </a>
      <aside className={css.rail}>{rail}</aside>
      <header className={css.top}>
        <Burger opened={drawer} onClick={drawerControls.toggle} size="sm" aria-label="Navigation" />
        <Mark size={18} />
        <span className={css.word}>Tetrad</span>
        <ActionIcon ml="auto" aria-label="Search and commands" onClick={paletteControls.open}>
          <IconSearch size={17} />
        </ActionIcon>
      </header>
      <Drawer.Root opened={drawer} onClose={drawerControls.close} size={260} padding={0}>
        <Drawer.Overlay />
        <Drawer.Content aria-label="Navigation">
          <Drawer.Body h="100%">{rail}</Drawer.Body>
        </Drawer.Content>
      </Drawer.Root>
      <main id="main" className={css.main} tabIndex={-1}>
        <ConnectionBar />
        <Outlet />
      </main>
      <Suspense>
        {palette && <Palette project={project} close={paletteControls.close} openHelp={helpControls.open} />}
        {help && <KeysHelp close={helpControls.close} />}
      </Suspense>
    </div>
  );
}

function Rail({ project, openPalette, openHelp }: { project: string; openPalette: () => void; openHelp: () => void }) {
  const { data: session } = useQuery(sessionQuery);
  const groups = [...new Set(PAGES.map((page) => page.group))];
  return (
    <div className={css.railInner}>
      <div className={css.brand}>
        <Mark size={20} />
        <span className={css.word}>Tetrad</span>
      </div>
      <ProjectSwitch project={project} />
      <button type="button" className={css.search} onClick={openPalette}>
        <IconSearch size={14} />
        <span>Go to…</span>
        <Kbd size="xs">{isMac() ? "⌘" : "Ctrl"} K</Kbd>
      </button>
      <nav aria-label="Main">
        {groups.map((group) => (
          <div key={group} className={css.group}>
            {group !== "" && <div className={css.groupName}>{group}</div>}
            {PAGES.filter((page) => page.group === group).map((page) => (
              <Link key={page.to} to={page.to} params={{ project }} className={css.item} activeProps={{ className: `${css.item} ${css.active}`, "aria-current": "page" }}>
                <page.icon size={16} stroke={1.7} />
                {page.label}
                {page.label === "System" && <SystemDot />}
              </Link>
            ))}
          </div>
        ))}
      </nav>
      <div className={css.foot}>
        <SchemeMenu />
        <Tooltip label="Keyboard shortcuts (?)">
          <ActionIcon aria-label="Keyboard shortcuts" onClick={openHelp}>
            <IconHelp size={16} />
          </ActionIcon>
        </Tooltip>
        <SignOut />
        <span className={css.version}>{session ? `v${session.version}` : ""}</span>
      </div>
    </div>
  );
}

function isMac(): boolean {
  return /mac/i.test(navigator.userAgent);
}

function ProjectSwitch({ project }: { project: string }) {
  const { data: session } = useQuery(sessionQuery);
  const navigate = useNavigate();
  const projects = session?.projects ?? [];
  const title = projects.find((p) => p.name === project)?.title ?? project;
  return (
    <Menu position="bottom-start" width="target">
      <Menu.Target>
        <button type="button" className={css.project}>
          <span className={css.letter} data-letter={title.charAt(0).toUpperCase()} aria-hidden="true" />
          <span className={`cut ${css.projectName ?? ""}`}>
            <span className="unseen">Project: </span>
            {title}
          </span>
          <IconChevronDown size={14} />
        </button>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>Projects</Menu.Label>
        {projects.map((p) => (
          <Menu.Item key={p.name} onClick={() => void navigate({ to: "/p/$project/overview", params: { project: p.name } })} fw={p.name === project ? 600 : 400}>
            {p.title}
          </Menu.Item>
        ))}
      </Menu.Dropdown>
    </Menu>
  );
}

function SystemDot() {
  const { data, isError } = useQuery(statusQuery);
  const health = isError ? "bad" : data ? systemHealth(data) : "good";
  if (health === "good") return null;
  const tone = health === "bad" ? "bad" : "warn";
  return (
    <span className={css.itemDot} title={tone === "bad" ? "Something is wrong" : "Something is on its way"}>
      <Dot tone={tone} />
    </span>
  );
}

const SCHEMES: { value: MantineColorScheme; label: string; icon: ReactNode }[] = [
  { value: "light", label: "Light", icon: <IconSun size={15} /> },
  { value: "dark", label: "Dark", icon: <IconMoon size={15} /> },
  { value: "auto", label: "As the system", icon: <IconDeviceDesktop size={15} /> },
];

function SchemeMenu() {
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  return (
    <Menu position="top-start">
      <Menu.Target>
        <ActionIcon aria-label="Theme">{(SCHEMES.find((s) => s.value === colorScheme) ?? SCHEMES[2])?.icon}</ActionIcon>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>Theme</Menu.Label>
        {SCHEMES.map((scheme) => (
          <Menu.Item key={scheme.value} leftSection={scheme.icon} fw={scheme.value === colorScheme ? 600 : 400} onClick={() => setColorScheme(scheme.value)}>
            {scheme.label}
          </Menu.Item>
        ))}
      </Menu.Dropdown>
    </Menu>
  );
}

function SignOut() {
  const router = useRouter();
  const queries = useQueryClient();
  const [failed, setFailed] = useState(false);
  return (
    <Tooltip label={failed ? "Could not sign out: control does not answer" : "Sign out"}>
      <ActionIcon
        aria-label="Sign out"
        color={failed ? "red" : "gray"}
        onClick={() => {
          void signOut()
            .then(() => {
              queries.clear();
              return router.navigate({ to: "/login" });
            })
            .catch(() => setFailed(true));
        }}
      >
        <IconLogout size={16} />
      </ActionIcon>
    </Tooltip>
  );
}

/** Says that what stands on the page is not fresh, while the control plane is away. */
function ConnectionBar() {
  const { error, failureReason } = useQuery(statusQuery);
  const reason = error ?? failureReason;
  if (reason === null || asProblem(reason).code !== "unreachable") return null;
  return (
    <div className={css.away} role="status">
      <Dot tone="bad" />
      The control plane does not answer. What you see is the last that it said; trying again by itself. Gateways go on answering meanwhile.
    </div>
  );
}
