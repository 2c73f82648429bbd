/** The gateway's pages, in the order of their links. */
export const GATEWAY_PAGES = [
  { to: "/p/$project/gateway/providers", label: "Providers" },
  { to: "/p/$project/gateway/keys", label: "Keys" },
  { to: "/p/$project/gateway/budgets", label: "Budgets and limits" },
  { to: "/p/$project/gateway/prices", label: "Prices" },
  { to: "/p/$project/gateway/routes", label: "Routes" },
  { to: "/p/$project/gateway/cache", label: "Cache" },
  { to: "/p/$project/gateway/tools", label: "Tools" },
  { to: "/p/$project/gateway/responses", label: "Responses" },
  { to: "/p/$project/gateway/batches", label: "Batches" },
] as const;
