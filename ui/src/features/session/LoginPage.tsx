import { Button } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, useRouter } from "@tanstack/react-router";
import { useEffect, useRef } from "react";
import { sessionQuery, signIn } from "@/api/session";
import { Command } from "@/kit/Copy";
import { Mark } from "@/kit/Mark";
import { useTitle } from "@/kit/Page";
import { asProblem } from "@/api/problem";
import css from "./login.module.css";

const route = getRouteApi("/login");

/** Where to go after signing in: a path of this console, never another site. */
export function safeNext(next: string | undefined): string {
  if (next === undefined || !next.startsWith("/") || /^\/[/\\]/.test(next) || next.startsWith("/login")) return "/";
  return next;
}

/** The token of a link stands after `#`, which browsers send to no server and no log. */
export function tokenOfHash(hash: string): string | undefined {
  return /^#token=([\w-]+)$/.exec(hash)?.[1];
}

/** Trades the one-time token of a link for a session; without one, tells how to get a link. */
export function LoginPage() {
  useTitle("Sign in");
  const { token: asked, next } = route.useSearch();
  const token = asked ?? tokenOfHash(window.location.hash);
  const router = useRouter();
  const queries = useQueryClient();
  const tried = useRef<string | null>(null);
  const login = useMutation({
    mutationFn: signIn,
    onSuccess: async (session) => {
      queries.clear();
      queries.setQueryData(sessionQuery.queryKey, session);
      // The token leaves the address bar and the history with this.
      await router.navigate({ to: safeNext(next), replace: true });
    },
  });
  const { mutate } = login;
  useEffect(() => {
    if (token === undefined || tried.current === token) return;
    tried.current = token;
    mutate(token);
  }, [token, mutate]);

  const problem = login.error ? asProblem(login.error) : null;
  const busy = token !== undefined && problem === null;
  return (
    <main className={css.page}>
      <div className={css.card}>
        <div className={css.brand}>
          <Mark size={30} />
          <span>Tetrad</span>
        </div>
        {busy ? (
          <p role="status">Signing you in…</p>
        ) : (
          <>
            <h1>{problem === null ? "Sign in" : problem.passing ? "Could not sign you in" : "This link no longer works"}</h1>
            {problem === null ? (
              <p>This console opens with a one-time link. Print one where Tetrad runs, and open it in this browser:</p>
            ) : (
              <p role="alert">
                {problem.message} {problem.hint}
              </p>
            )}
            {problem?.passing === true && token !== undefined ? (
              <Button onClick={() => mutate(token)} fullWidth>
                Try again
              </Button>
            ) : (
              <Command text="tetrad login" />
            )}
            <p className={css.note}>A link works once and for a few minutes. It signs in this browser only.</p>
          </>
        )}
      </div>
    </main>
  );
}
