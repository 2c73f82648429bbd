import type { QueryClient } from "@tanstack/react-query";
import { createRootRouteWithContext, createRoute, createRouter, notFound, Outlet, redirect } from "@tanstack/react-router";
import { queryText } from "./api/http";
import { WINDOWS, type Window } from "./api/overview";
import { asProblem } from "./api/problem";
import { sessionQuery } from "./api/session";
import { readChangeSearch, readChangesSearch } from "./features/changes/search";
import { readPromptSearch, readPromptsSearch } from "./features/prompts/search";
import { readTracesSearch } from "./features/traces/search";
import { lazyPage, preloadPages } from "./shell/lazyPage";
import { NotFoundPage, RouteError, RoutePending } from "./shell/RouteStates";
import { Shell } from "./shell/Shell";

interface Context {
  queries: QueryClient;
}

/** One text of the URL, or nothing. */
function text(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

const root = createRootRouteWithContext<Context>()({ component: Outlet, notFoundComponent: NotFoundPage });

const login = createRoute({
  getParentRoute: () => root,
  path: "/login",
  validateSearch: (search: Record<string, unknown>): { next?: string } => ({ next: text(search.next) }),
  ...lazyPage(() => import("./features/session/LoginPage").then((m) => m.LoginPage)),
});

/** Everything that needs a session; remembers where a visitor wanted to go. */
const signedIn = createRoute({
  getParentRoute: () => root,
  id: "signed-in",
  beforeLoad: async ({ context, location }) => {
    try {
      return { session: await context.queries.query({ ...sessionQuery, staleTime: "static" }) };
    } catch (error) {
      if (asProblem(error).status === 401) throw redirect({ to: "/login", search: location.pathname === "/" ? {} : { next: location.href }, replace: true });
      throw error;
    }
  },
});

const home = createRoute({
  getParentRoute: () => signedIn,
  path: "/",
  beforeLoad: ({ context }) => {
    throw redirect({ to: "/p/$project/overview", params: { project: context.session.projects[0]?.name ?? "default" }, replace: true });
  },
});

const project = createRoute({
  getParentRoute: () => signedIn,
  path: "/p/$project",
  beforeLoad: ({ context, params }) => {
    // A project that is not ours looks just like one that does not exist.
    // eslint-disable-next-line @typescript-eslint/only-throw-error -- the router takes this object for an answer
    if (!context.session.projects.some((p) => p.name === params.project)) throw notFound();
  },
  component: Shell,
});

const projectHome = createRoute({
  getParentRoute: () => project,
  path: "/",
  beforeLoad: ({ params }) => {
    throw redirect({ to: "/p/$project/overview", params, replace: true });
  },
});

const overview = createRoute({
  getParentRoute: () => project,
  path: "overview",
  validateSearch: (search: Record<string, unknown>): { window?: Window } => ({ window: WINDOWS.find((w) => w === search.window) }),
  ...lazyPage(() => import("./features/overview/OverviewPage").then((m) => m.OverviewPage)),
});

const traces = createRoute({
  getParentRoute: () => project,
  path: "traces",
  validateSearch: readTracesSearch,
  ...lazyPage(() => import("./features/traces/TracesPage").then((m) => m.TracesPage)),
});

const trace = createRoute({
  getParentRoute: () => project,
  path: "traces/$trace",
  validateSearch: (search: Record<string, unknown>): { span?: string; tab?: "attributes" | "raw" } => ({
    span: text(search.span),
    tab: search.tab === "attributes" || search.tab === "raw" ? search.tab : undefined,
  }),
  ...lazyPage(() => import("./features/traces/TracePage").then((m) => m.TracePage)),
});

const apps = createRoute({
  getParentRoute: () => project,
  path: "apps",
  ...lazyPage(() => import("./features/apps/AppsPage").then((m) => m.AppsPage)),
});

const app = createRoute({
  getParentRoute: () => project,
  path: "apps/$app",
  validateSearch: (search: Record<string, unknown>): { release?: string } => ({ release: text(search.release) }),
  ...lazyPage(() => import("./features/apps/AppPage").then((m) => m.AppPage)),
});

const prompts = createRoute({
  getParentRoute: () => project,
  path: "prompts",
  validateSearch: readPromptsSearch,
  ...lazyPage(() => import("./features/prompts/PromptsPage").then((m) => m.PromptsPage)),
});

const prompt = createRoute({
  getParentRoute: () => project,
  path: "prompts/$prompt",
  validateSearch: readPromptSearch,
  ...lazyPage(() => import("./features/prompts/PromptPage").then((m) => m.PromptPage)),
});

const changes = createRoute({
  getParentRoute: () => project,
  path: "changes",
  validateSearch: readChangesSearch,
  ...lazyPage(() => import("./features/changes/ChangesPage").then((m) => m.ChangesPage)),
});

const change = createRoute({
  getParentRoute: () => project,
  path: "changes/$change",
  validateSearch: readChangeSearch,
  ...lazyPage(() => import("./features/changes/ChangePage").then((m) => m.ChangePage)),
});

const keys = createRoute({
  getParentRoute: () => project,
  path: "settings/keys",
  ...lazyPage(() => import("./features/keys/KeysPage").then((m) => m.KeysPage)),
});

const system = createRoute({
  getParentRoute: () => project,
  path: "system",
  ...lazyPage(() => import("./features/system/SystemPage").then((m) => m.SystemPage)),
});

const tree = root.addChildren([login, signedIn.addChildren([home, project.addChildren([projectHome, overview, traces, trace, apps, app, prompts, prompt, changes, change, keys, system])])]);

export function makeRouter(queries: QueryClient) {
  preloadPages();
  return createRouter({
    routeTree: tree,
    context: { queries },
    defaultPreload: "intent",
    scrollRestoration: true,
    defaultErrorComponent: RouteError,
    defaultPendingComponent: RoutePending,
    defaultNotFoundComponent: NotFoundPage,
    defaultPendingMs: 300,
    // Plain `?key=text`, so that a link can be read and written by hand; every route reads its own types.
    parseSearch: (search) => Object.fromEntries(new URLSearchParams(search)),
    stringifySearch: (search) => queryText(search as Record<string, string>),
  });
}

declare module "@tanstack/react-router" {
  interface Register {
    router: ReturnType<typeof makeRouter>;
  }
}
