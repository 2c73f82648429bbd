import { useQuery } from "@tanstack/react-query";
import { stalenessQuery, type StaleState } from "@/api/staleness";
import { Chip } from "@/kit/Chips";
import { stateLook } from "./state";

export function StateChip({ state }: { state: StaleState }) {
  const { tone, word, tip } = stateLook(state);
  return (
    <Chip tone={tone} tip={tip}>
      {word}
    </Chip>
  );
}

/** How the release of a ref stands; nothing until it is known. */
export function StaleChip({ project, app, name }: { project: string; app: string; name: string }) {
  const { data } = useQuery(stalenessQuery(project, { app }));
  const item = data?.items.find((each) => each.ref === `${app}/${name}`);
  return item === undefined ? null : <StateChip state={item.state} />;
}
