import { Button, Modal, TextInput } from "@mantine/core";
import { useDebouncedCallback, useHotkeys } from "@mantine/hooks";
import { keepPreviousData, useInfiniteQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { IconMessage2Code, IconPlus, IconSearch } from "@tabler/icons-react";
import { useRef, useState } from "react";
import { PROMPT_SORTS, promptsQuery, type PromptSort } from "@/api/prompts";
import { Chip } from "@/kit/Chips";
import kit from "@/kit/kit.module.css";
import { SortHead } from "@/kit/Lists";
import { Page, Panel, Scroll } from "@/kit/Page";
import { EmptyState, ErrorState, Loading } from "@/kit/States";
import { Ago } from "@/kit/time";
import css from "./prompts.module.css";

const route = getRouteApi("/signed-in/p/$project/prompts");

/** The prompts of a project, by their newest versions. */
export function PromptsPage() {
  const { project } = route.useParams();
  const { q = "", sort = "name" } = route.useSearch();
  const navigate = route.useNavigate();
  const [typed, setTyped] = useState(q);
  const [making, setMaking] = useState(false);
  const field = useRef<HTMLInputElement>(null);
  const set = (next: { q: string; sort: PromptSort }): void => void navigate({ search: { q: next.q === "" ? undefined : next.q, sort: next.sort === "name" ? undefined : next.sort }, replace: true });
  const search = useDebouncedCallback((text: string) => set({ q: text, sort }), 250);
  useHotkeys([["/", () => field.current?.focus()]]);
  const query = useInfiniteQuery({ ...promptsQuery(project, q, sort), placeholderData: keepPreviousData });
  const prompts = query.data?.pages.flatMap((page) => page.items) ?? [];
  const create = (
    <Button leftSection={<IconPlus size={14} />} onClick={() => setMaking(true)}>
      New prompt
    </Button>
  );
  const head = (name: "name" | "created", label: string) => (
    <SortHead field={name} sort={sort} onSort={(next) => set({ q, sort: PROMPT_SORTS.find((one) => one === next) ?? "name" })} first={name === "created" ? "desc" : "asc"}>
      {label}
    </SortHead>
  );
  const none = query.data !== undefined && prompts.length === 0;
  return (
    <Page title="Prompts" side={none && q === "" ? undefined : create}>
      <Panel flush label="Prompts">
        {!(none && q === "") && (
          <div className={css.searchBar} role="search">
            <TextInput
              ref={field}
              aria-label="Search prompts by name"
              placeholder="Search by name"
              leftSection={<IconSearch size={14} />}
              value={typed}
              maxLength={63}
              onChange={(event) => {
                setTyped(event.currentTarget.value);
                search(event.currentTarget.value.trim());
              }}
            />
          </div>
        )}
        {query.data === undefined ? (
          query.isError ? (
            <ErrorState error={query.error} retry={() => void query.refetch()} busy={query.isFetching} />
          ) : (
            <Loading />
          )
        ) : none ? (
          q === "" ? (
            <EmptyState icon={<IconMessage2Code size={28} stroke={1.4} color="var(--t-accent)" />} title="No prompts in this project" more={<div style={{ textAlign: "center" }}>{create}</div>}>
              A prompt is kept with every version, and why each was made. Write the first one here, or bring a folder with <code>tetrad prompt sync</code>.
            </EmptyState>
          ) : (
            <EmptyState title={`No prompt is called ${q}`}>Search for a part of its name, or clear the search.</EmptyState>
          )
        ) : (
          <>
            <Scroll label="Prompts and their newest versions">
              <table className={kit.table}>
                <thead>
                  <tr>
                    {head("name", "Name")}
                    <th scope="col">Version</th>
                    <th scope="col">Description</th>
                    <th scope="col">Last change</th>
                    {head("created", "Changed")}
                    <th scope="col">By</th>
                  </tr>
                </thead>
                <tbody>
                  {prompts.map(({ version, description, type }) => (
                    <tr key={version.name}>
                      <td style={{ fontWeight: 500, whiteSpace: "nowrap" }}>
                        <Link to="/p/$project/prompts/$prompt" params={{ project, prompt: version.name }} className="link">
                          {version.name}
                        </Link>
                      </td>
                      <td>
                        <span className={css.versionCell}>
                          <span className="num">{version.semver}</span>
                          {type !== "chat" && <Chip>{type}</Chip>}
                        </span>
                      </td>
                      <td className={css.prose}>{description}</td>
                      <td className={css.prose}>{version.reason || <span className="dim">–</span>}</td>
                      <td style={{ whiteSpace: "nowrap" }}>
                        <Ago at={version.created_at} />
                      </td>
                      <td>{version.created_by}</td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </Scroll>
            {query.hasNextPage && (
              <div className={css.more}>
                <Button variant="default" loading={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>
                  Show more prompts
                </Button>
              </div>
            )}
          </>
        )}
      </Panel>
      {making && <NewModal close={() => setMaking(false)} go={(name) => void navigate({ to: "/p/$project/prompts/$prompt", params: { project, prompt: name }, search: { new: "1" } })} />}
    </Page>
  );
}

/** The names that the product takes. */
const NAME = /^[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?$/;

function NewModal({ close, go }: { close: () => void; go: (name: string) => void }) {
  const [name, setName] = useState("");
  const good = NAME.test(name.trim());
  return (
    <Modal opened onClose={close} title="A new prompt">
      <form
        className={css.modal}
        onSubmit={(event) => {
          event.preventDefault();
          if (good) go(name.trim());
        }}
      >
        <TextInput label="Name" description="What it does, such as support-answer; small letters, digits and -" required maxLength={128} data-autofocus value={name} error={name.trim() !== "" && !good ? "Small letters, digits, - . and _ only" : undefined} onChange={(event) => setName(event.currentTarget.value)} />
        <div className={css.buttons}>
          <Button variant="default" onClick={close}>
            Cancel
          </Button>
          <Button type="submit" disabled={!good}>
            Write it
          </Button>
        </div>
      </form>
    </Modal>
  );
}
