import { useQueryErrorResetBoundary } from "@tanstack/react-query";
import { Link, useRouter, type ErrorComponentProps } from "@tanstack/react-router";
import { IconMapQuestion } from "@tabler/icons-react";
import { useEffect } from "react";
import { asProblem } from "@/api/problem";
import { EmptyState, ErrorState, Loading } from "@/kit/States";
import { useTitle } from "@/kit/Page";

/** A page that could not be shown; comes back by itself once the control plane does. */
export function RouteError({ error, reset }: ErrorComponentProps) {
  const router = useRouter();
  const boundary = useQueryErrorResetBoundary();
  const passing = asProblem(error).passing;
  useTitle("Error");
  useEffect(() => {
    boundary.reset();
    if (!passing) return;
    const timer = setInterval(() => void router.invalidate(), 3_000);
    return () => clearInterval(timer);
  }, [boundary, passing, router]);
  return (
    <ErrorState
      error={error}
      retry={() => {
        reset();
        void router.invalidate();
      }}
    />
  );
}

export function RoutePending() {
  return <Loading rows={8} />;
}

export function NotFoundPage() {
  useTitle("Not found");
  return (
    <main>
      <EmptyState icon={<IconMapQuestion size={28} stroke={1.4} />} title="There is nothing at this address">
        The page may have moved, or it belongs to a project that you are not a member of. <Link to="/" className="link">Go to the overview</Link>
      </EmptyState>
    </main>
  );
}
