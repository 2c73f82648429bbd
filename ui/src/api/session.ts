import { queryOptions } from "@tanstack/react-query";
import { request } from "./http";

export interface Session {
  name: string;
  scopes: string[];
  projects: { name: string; title: string }[];
  version: string;
}

interface WireSession {
  principal: { id: string; name: string };
  scopes: string[];
  projects: { name: string; title: string }[];
  version: string;
}

function read(wire: WireSession): Session {
  return { name: wire.principal.name, scopes: wire.scopes, projects: wire.projects, version: wire.version };
}

export const sessionQuery = queryOptions({
  queryKey: ["session"],
  queryFn: async ({ signal }) => read(await request<WireSession>("GET", "/api/v1/session", { signal })),
  staleTime: 60_000,
  retry: false,
});

export async function signIn(token: string): Promise<Session> {
  return read(await request<WireSession>("POST", "/api/v1/session", { body: { token } }));
}

export function signOut(): Promise<void> {
  return request<undefined>("DELETE", "/api/v1/session");
}
