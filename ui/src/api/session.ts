import { queryOptions } from "@tanstack/react-query";
import { answer, control, type Schemas } from "./http";

export type Session = Schemas["SessionView"];

export const sessionQuery = queryOptions({
  queryKey: ["session"],
  queryFn: ({ signal }) => answer(control.GET("/api/v1/session", { signal })),
  staleTime: 60_000,
  retry: false,
});

export function signIn(token: string): Promise<Session> {
  return answer(control.POST("/api/v1/session", { body: { token } }));
}

export function signOut(): Promise<unknown> {
  return answer(control.DELETE("/api/v1/session"));
}
