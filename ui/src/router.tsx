import type { QueryClient } from "@tanstack/react-query";
import { createRootRouteWithContext, createRoute, createRouter, notFound, Outlet, redirect } from "@tanstack/react-router";
import { queryText } from "./api/http";
import { WINDOWS, type Window } from "./api/overview";
import { asProblem } from "./api/problem";
import { sessionQuery } from "./api/session";
import { readAuditSearch } from "./features/audit/search";
import { readBindingSearch } from "./features/bindings/search";
import { readDatasetDiffSearch, readDatasetSearch, readDatasetsSearch } from "./features/datasets/search";
import { readKeysSearch } from "./features/keys/search";
import { readBatchesSearch, readBudgetSearch, readBudgetsSearch, readCacheSearch, readPricesSearch, readProviderSearch, readProvidersSearch, readResponsesSearch, readRoutesSearch, readToolServerSearch, readToolServersSearch } from "./features/gateway/search";
import { readLineageSearch } from "./features/lineage/search";
import { readCompareSearch, readModelSearch, readModelsSearch, readRunsSearch } from "./features/models/search";
import { readDeriveSearch, readReleaseDiffSearch, readReleaseSearch, readReleasesSearch } from "./features/releases/search";
import { readChangeSearch, readChangesSearch } from "./features/changes/search";
import { readPlaygroundSearch } from "./features/playground/search";
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

const datasets = createRoute({
  getParentRoute: () => project,
  path: "datasets",
  validateSearch: readDatasetsSearch,
  ...lazyPage(() => import("./features/datasets/DatasetsPage").then((m) => m.DatasetsPage)),
});

const dataset = createRoute({
  getParentRoute: () => project,
  path: "datasets/$dataset",
  validateSearch: readDatasetSearch,
  ...lazyPage(() => import("./features/datasets/DatasetPage").then((m) => m.DatasetPage)),
});

const datasetDiff = createRoute({
  getParentRoute: () => project,
  path: "datasets/$dataset/diff",
  validateSearch: readDatasetDiffSearch,
  ...lazyPage(() => import("./features/datasets/DatasetDiffPage").then((m) => m.DatasetDiffPage)),
});

const models = createRoute({
  getParentRoute: () => project,
  path: "models",
  validateSearch: readModelsSearch,
  ...lazyPage(() => import("./features/models/ModelsPage").then((m) => m.ModelsPage)),
});

// A model's name may hold slashes: `local/smollm2-135m`. Without the dash its route would take the list's address too.
const model = createRoute({
  getParentRoute: () => project,
  path: "models/-/$",
  validateSearch: readModelSearch,
  ...lazyPage(() => import("./features/models/ModelPage").then((m) => m.ModelPage)),
});

const runs = createRoute({
  getParentRoute: () => project,
  path: "runs",
  validateSearch: readRunsSearch,
  ...lazyPage(() => import("./features/models/RunsPage").then((m) => m.RunsPage)),
});

const compareRuns = createRoute({
  getParentRoute: () => project,
  path: "runs/compare",
  validateSearch: readCompareSearch,
  ...lazyPage(() => import("./features/models/ComparePage").then((m) => m.ComparePage)),
});

const lineage = createRoute({
  getParentRoute: () => project,
  path: "lineage/$digest",
  validateSearch: readLineageSearch,
  ...lazyPage(() => import("./features/lineage/LineagePage").then((m) => m.LineagePage)),
});

const releases = createRoute({
  getParentRoute: () => project,
  path: "releases",
  validateSearch: readReleasesSearch,
  ...lazyPage(() => import("./features/releases/ReleasesPage").then((m) => m.ReleasesPage)),
});

const deriveRelease = createRoute({
  getParentRoute: () => project,
  path: "releases/derive",
  validateSearch: readDeriveSearch,
  ...lazyPage(() => import("./features/releases/DerivePage").then((m) => m.DerivePage)),
});

const releaseDiff = createRoute({
  getParentRoute: () => project,
  path: "releases/diff",
  validateSearch: readReleaseDiffSearch,
  ...lazyPage(() => import("./features/releases/ReleaseDiffPage").then((m) => m.ReleaseDiffPage)),
});

const release = createRoute({
  getParentRoute: () => project,
  path: "releases/$digest",
  validateSearch: readReleaseSearch,
  ...lazyPage(() => import("./features/releases/ReleasePage").then((m) => m.ReleasePage)),
});

const audit = createRoute({
  getParentRoute: () => project,
  path: "audit",
  validateSearch: readAuditSearch,
  ...lazyPage(() => import("./features/audit/AuditPage").then((m) => m.AuditPage)),
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

const bindings = createRoute({
  getParentRoute: () => project,
  path: "bindings",
  ...lazyPage(() => import("./features/bindings/BindingsPage").then((m) => m.BindingsPage)),
});

const binding = createRoute({
  getParentRoute: () => project,
  path: "bindings/$env",
  validateSearch: readBindingSearch,
  ...lazyPage(() => import("./features/bindings/BindingPage").then((m) => m.BindingPage)),
});

const gateway = createRoute({
  getParentRoute: () => project,
  path: "gateway",
  beforeLoad: ({ params }) => {
    throw redirect({ to: "/p/$project/gateway/providers", params, replace: true });
  },
});

const providers = createRoute({
  getParentRoute: () => project,
  path: "gateway/providers",
  validateSearch: readProvidersSearch,
  ...lazyPage(() => import("./features/gateway/ProvidersPage").then((m) => m.ProvidersPage)),
});

const provider = createRoute({
  getParentRoute: () => project,
  path: "gateway/providers/$provider",
  validateSearch: readProviderSearch,
  ...lazyPage(() => import("./features/gateway/ProviderPage").then((m) => m.ProviderPage)),
});

const keys = createRoute({
  getParentRoute: () => project,
  path: "gateway/keys",
  validateSearch: readKeysSearch,
  ...lazyPage(() => import("./features/keys/KeysPage").then((m) => m.KeysPage)),
});

/** Where the keys were; links to it stand in notes of people. */
const oldKeys = createRoute({
  getParentRoute: () => project,
  path: "settings/keys",
  beforeLoad: ({ params }) => {
    throw redirect({ to: "/p/$project/gateway/keys", params, replace: true });
  },
});

const budgets = createRoute({
  getParentRoute: () => project,
  path: "gateway/budgets",
  validateSearch: readBudgetsSearch,
  ...lazyPage(() => import("./features/gateway/BudgetsPage").then((m) => m.BudgetsPage)),
});

const budget = createRoute({
  getParentRoute: () => project,
  path: "gateway/budgets/$budget",
  validateSearch: readBudgetSearch,
  ...lazyPage(() => import("./features/gateway/BudgetPage").then((m) => m.BudgetPage)),
});

const prices = createRoute({
  getParentRoute: () => project,
  path: "gateway/prices",
  validateSearch: readPricesSearch,
  ...lazyPage(() => import("./features/gateway/PricesPage").then((m) => m.PricesPage)),
});

const modelRoutes = createRoute({
  getParentRoute: () => project,
  path: "gateway/routes",
  validateSearch: readRoutesSearch,
  ...lazyPage(() => import("./features/gateway/RoutesPage").then((m) => m.RoutesPage)),
});

const cache = createRoute({
  getParentRoute: () => project,
  path: "gateway/cache",
  validateSearch: readCacheSearch,
  ...lazyPage(() => import("./features/gateway/CachePage").then((m) => m.CachePage)),
});

const toolServers = createRoute({
  getParentRoute: () => project,
  path: "gateway/tools",
  validateSearch: readToolServersSearch,
  ...lazyPage(() => import("./features/gateway/ToolServersPage").then((m) => m.ToolServersPage)),
});

const toolServer = createRoute({
  getParentRoute: () => project,
  path: "gateway/tools/$server",
  validateSearch: readToolServerSearch,
  ...lazyPage(() => import("./features/gateway/ToolServerPage").then((m) => m.ToolServerPage)),
});

const responses = createRoute({
  getParentRoute: () => project,
  path: "gateway/responses",
  validateSearch: readResponsesSearch,
  ...lazyPage(() => import("./features/gateway/ResponsesPage").then((m) => m.ResponsesPage)),
});

const batches = createRoute({
  getParentRoute: () => project,
  path: "gateway/batches",
  validateSearch: readBatchesSearch,
  ...lazyPage(() => import("./features/gateway/BatchesPage").then((m) => m.BatchesPage)),
});

const playground = createRoute({
  getParentRoute: () => project,
  path: "playground",
  validateSearch: readPlaygroundSearch,
  ...lazyPage(() => import("./features/playground/PlaygroundPage").then((m) => m.PlaygroundPage)),
});

const system = createRoute({
  getParentRoute: () => project,
  path: "system",
  ...lazyPage(() => import("./features/system/SystemPage").then((m) => m.SystemPage)),
});

const tree = root.addChildren([login, signedIn.addChildren([home, project.addChildren([projectHome, overview, traces, trace, apps, app, prompts, prompt, datasets, dataset, datasetDiff, models, model, runs, compareRuns, lineage, releases, deriveRelease, releaseDiff, release, changes, change, bindings, binding, audit, gateway, providers, provider, keys, oldKeys, budgets, budget, prices, modelRoutes, cache, toolServers, toolServer, responses, batches, playground, system])])]);

export function makeRouter(queries: QueryClient) {
  preloadPages();
  return createRouter({
    routeTree: tree,
    context: { queries },
    // Digests stand in addresses as people write them.
    pathParamsAllowedCharacters: [":"],
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
