import { Button, Skeleton } from "@mantine/core";
import { IconPlugConnectedX, IconRefresh, IconAlertTriangle, IconLockOff, IconMapQuestion } from "@tabler/icons-react";
import type { ReactNode } from "react";
import { asProblem } from "@/api/problem";
import { CopyButton } from "./Copy";
import css from "./kit.module.css";

/** What went wrong, what to do next, and a way to try again. */
export function ErrorState({ error, retry, busy = false }: { error: unknown; retry?: () => void; busy?: boolean }) {
  const problem = asProblem(error);
  const Icon = problem.code === "unreachable" ? IconPlugConnectedX : problem.status === 403 ? IconLockOff : problem.status === 404 ? IconMapQuestion : IconAlertTriangle;
  return (
    <div className={css.state} role="alert">
      <Icon size={28} stroke={1.4} color={problem.passing || problem.status < 0 ? "var(--t-bad)" : "var(--t-ink-3)"} />
      <h2>{problem.message}</h2>
      {problem.hint !== "" && <p>{problem.hint}</p>}
      {problem.errors.length > 1 && (
        <ul>
          {problem.errors.map((e) => (
            <li key={e.loc}>
              <code>{e.loc}</code>: {e.msg}
            </li>
          ))}
        </ul>
      )}
      {retry && (
        <Button mt={6} variant="default" leftSection={<IconRefresh size={14} />} onClick={retry} loading={busy}>
          Try again
        </Button>
      )}
      {problem.requestId !== "" && (
        <p className="dim mono">
          request {problem.requestId} <CopyButton value={problem.requestId} what="request id" size="xs" />
        </p>
      )}
    </div>
  );
}

/** Nothing here yet: says why, and what to do next. */
export function EmptyState({ icon, title, children, more }: { icon?: ReactNode; title: string; children?: ReactNode; more?: ReactNode }) {
  return (
    <div className={css.state}>
      {icon}
      <h2>{title}</h2>
      {children !== undefined && <p>{children}</p>}
      {more !== undefined && <div className={css.more}>{more}</div>}
    </div>
  );
}

/** Holds the place of what is on its way, so that nothing jumps when it comes. */
export function Loading({ rows = 6, height = 18 }: { rows?: number; height?: number }) {
  return (
    <div aria-busy="true" aria-label="Loading" role="status" style={{ display: "grid", gap: 12, padding: 16 }}>
      {Array.from({ length: rows }, (_, i) => (
        <Skeleton key={i} height={height} width={`${92 - ((i * 17) % 40)}%`} radius="sm" />
      ))}
    </div>
  );
}
