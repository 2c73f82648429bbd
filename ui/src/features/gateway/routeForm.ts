import type { ModelRoute, ModelRouteBody, RouteTarget } from "@/api/gateway";

export interface RouteDraft extends ModelRouteBody {
  name: string;
}

export const FALLBACKS = [
  { kind: "error", label: "It fails or is silent" },
  { kind: "rate_limit", label: "It is at its limit" },
  { kind: "context_window", label: "The input is too long for it" },
  { kind: "content_policy", label: "It refuses the content" },
] as const;

export const STRATEGIES: { value: ModelRouteBody["strategy"]; label: string }[] = [
  { value: "order", label: "in the order below" },
  { value: "weighted", label: "by weight" },
  { value: "least-busy", label: "to the least busy" },
  { value: "latency", label: "to the quickest" },
  { value: "cost", label: "to the cheapest" },
];

export const AFFINITIES: { value: ModelRouteBody["affinity"]; label: string }[] = [
  { value: "none", label: "nothing" },
  { value: "session", label: "a session" },
  { value: "unit", label: "a unit" },
  { value: "prompt", label: "the same system message" },
];

export const LABELS = ["segments", "sensitivities", "regions"] as const;

export function newTarget(model: string): RouteTarget {
  return { model, weight: 1, priority: 0, max_in_flight: 0, when: { segments: [], sensitivities: [], regions: [] } };
}

const NEW: RouteDraft = {
  name: "",
  targets: [newTarget("")],
  strategy: "order",
  affinity: "none",
  aliases: [],
  fallbacks: { error: [], rate_limit: [], context_window: [], content_policy: [] },
  retry: { retries: 1, budget_percent: 20, first_pause_s: 0.2, longest_pause_s: 5 },
  deadlines: { connect_s: 0, first_token_s: 0, idle_s: 0, total_s: 0 },
  hedge: { enabled: false, budget_percent: 2, min_samples: 20, min_wait_s: 0.1 },
  breaker: { consecutive: 5, ratio: 0.5, min_calls: 20, window_s: 30, open_s: 5, longest_open_s: 120 },
  max_attempts: 4,
};

export function routeDraftOf(route: ModelRoute | undefined): RouteDraft {
  return route === undefined ? NEW : { ...route };
}

export function routeBodyOf(draft: RouteDraft): ModelRouteBody {
  const body: ModelRouteBody & { name?: string } = { ...draft, targets: draft.targets.map((target) => ({ ...target, model: target.model.trim() })) };
  delete body.name;
  return body;
}

/** The targets of a list of models; one that was there keeps its weight and its conditions. */
export function targetsOf(models: readonly string[], before: readonly RouteTarget[]): RouteTarget[] {
  return models.map((model) => before.find((target) => target.model === model) ?? newTarget(model));
}

const MODEL = /^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,263}$/;
const LABEL = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;
const ALIAS = /^[A-Za-z0-9][A-Za-z0-9._/+-]{0,126}$/;
const TAKEN = ["health", "app", "release"];

function modelProblem(model: string): string | undefined {
  if (!MODEL.test(model) || model.startsWith("app:") || model.startsWith("release:")) return "A model such as openai/gpt-5-mini";
  return undefined;
}

/** What is wrong with a draft, by the field's name; the server judges again. */
export function routeProblemsOf(draft: RouteDraft, taken: readonly string[] = []): Record<string, string> {
  const problems: Record<string, string> = {};
  if (!/^[a-z0-9][a-z0-9._-]{0,62}$/.test(draft.name) || TAKEN.includes(draft.name)) problems.name = "Small letters, digits, . _ and -, at most 63";
  else if (taken.includes(draft.name)) problems.name = "A route has this name already";
  if (draft.aliases.some((alias) => !ALIAS.test(alias))) problems.aliases = "Such as gpt-5 or openai/gpt-5";
  else if (draft.aliases.includes(draft.name)) problems.aliases = "The route's own name is no alias";
  else if (draft.aliases.length > 16) problems.aliases = "At most 16";
  if (draft.targets.length === 0) problems.targets = "Name at least one model";
  const names = draft.targets.map((target) => target.model.trim());
  draft.targets.forEach((target, i) => {
    const model = names[i] ?? "";
    const problem = modelProblem(model) ?? (names.indexOf(model) < i ? "This model is a target already" : undefined);
    if (problem !== undefined) problems[`targets.${i}.model`] = problem;
    for (const label of LABELS) if (target.when[label].some((each) => !LABEL.test(each))) problems[`targets.${i}.${label}`] = "Labels such as public or eu-west";
  });
  if (draft.strategy === "weighted" && draft.targets.every((target) => target.weight === 0)) problems.targets = "Give at least one a weight above 0";
  for (const { kind } of FALLBACKS) if (draft.fallbacks[kind].some((target) => modelProblem(target.model) !== undefined)) problems[`fallbacks.${kind}`] = "Models such as openai/gpt-5-mini";
  if (draft.retry.longest_pause_s < draft.retry.first_pause_s) problems["retry.longest_pause_s"] = "Not shorter than the first pause";
  if (draft.breaker.longest_open_s < draft.breaker.open_s) problems["breaker.longest_open_s"] = "Not shorter than the first";
  return problems;
}

/** When a target may answer, in words; nothing where it always may. */
export function conditionOf(target: RouteTarget): string {
  const words = { segments: "segment", sensitivities: "sensitivity", regions: "region" };
  return LABELS.filter((label) => target.when[label].length > 0)
    .map((label) => `${words[label]} ${target.when[label].join(" or ")}`)
    .join(", ");
}
