import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { healthOf, statusQuery } from "@/api/status";
import { HealthLabel } from "@/kit/Chips";
import css from "./system.module.css";

/** What runs, in one line; leads to the page that says more. */
export function SystemStrip({ project }: { project: string }) {
  const { data } = useQuery(statusQuery);
  if (data === undefined) return <div className={css.strip} aria-busy="true" />;
  const parts = [...data.processes, ...data.engines];
  return (
    <section className={css.strip} aria-label="Processes and engines">
      {parts.map((part) => {
        const health = healthOf(part.state);
        return (
          <Link key={part.name} to="/p/$project/system" params={{ project }} className={css.part} title={part.reason || part.state}>
            <HealthLabel health={health} state={part.name} />
            {health !== "good" && <span className="dim">{part.state}</span>}
          </Link>
        );
      })}
    </section>
  );
}
