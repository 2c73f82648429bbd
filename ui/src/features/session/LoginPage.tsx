import { Button } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, useLocation, useRouter } from "@tanstack/react-router";
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
  return /^#?token=([\w-]+)$/.exec(hash)?.[1];
}

const REMEMBERED = "tetrad.next";
const REMEMBERED_MS = 15 * 60_000;

/** Keeps where a visitor wanted to go until they come back with a link, which may open in another tab. */
export function rememberNext(next: string, now: number): void {
  localStorage.setItem(REMEMBERED, JSON.stringify({ next, at: now }));
}

/** Where the visitor wanted to go, once and not for long. */
export function recallNext(now: number): string | undefined {
  const text = localStorage.getItem(REMEMBERED);
  localStorage.removeItem(REMEMBERED);
  try {
    const kept = JSON.parse(text ?? "null") as { next?: unknown; at?: unknown } | null;
    return typeof kept?.next === "string" && typeof kept.at === "number" && now - kept.at < REMEMBERED_MS ? kept.next : undefined;
  } catch {
    return undefined;
  }
}

/** Trades the one-time token of a link for a session; without one, tells how to get a link. */
export function LoginPage() {
  useTitle("Sign in");
  const { next } = route.useSearch();
  const hash = useLocation({ select: (location) => location.hash });
  const token = tokenOfHash(hash);
  const router = useRouter();
  const queries = useQueryClient();
  const tried = useRef<string | null>(null);
  const login = useMutation({
    mutationFn: signIn,
    onSuccess: async (session) => {
      queries.clear();
      queries.setQueryData(sessionQuery.queryKey, session);
      // The token leaves the address bar and the history with this.
      await router.navigate({ to: safeNext(next ?? recallNext(Date.now())), replace: true });
    },
  });
  useEffect(() => {
    if (token === undefined && next !== undefined) rememberNext(next, Date.now());
  }, [token, next]);
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
