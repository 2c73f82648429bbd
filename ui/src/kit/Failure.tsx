import { Alert } from "@mantine/core";
import { asProblem } from "@/api/problem";

/** What an action was refused for, and what to do next; nothing where there was no error. */
export function Failure({ error }: { error: unknown }) {
  if (error === null || error === undefined) return null;
  const problem = asProblem(error);
  return (
    <Alert color="red" variant="light" role="alert" title={problem.message} styles={{ title: { whiteSpace: "pre-wrap", overflowWrap: "anywhere" } }}>
      {problem.hint}
      {problem.errors.length > 0 && (
        <ul style={{ margin: "6px 0 0", paddingLeft: 18 }}>
          {problem.errors.slice(0, 20).map((e, i) => (
            <li key={i}>
              <code>{e.loc}</code>: {e.msg}
            </li>
          ))}
        </ul>
      )}
    </Alert>
  );
}
