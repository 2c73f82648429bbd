import { Alert } from "@mantine/core";
import { asProblem } from "@/api/problem";

/** What went wrong with what a person asked for, and what to do next; nothing while nothing did. */
export function Failure({ error }: { error: unknown }) {
  if (error === null || error === undefined) return null;
  const problem = asProblem(error);
  return (
    <Alert color="red" variant="light" role="alert" title={problem.message}>
      {problem.hint}
      {problem.errors.length > 0 && (
        <ul style={{ margin: "4px 0 0", paddingLeft: 18 }}>
          {problem.errors.map((each) => (
            <li key={`${each.loc}${each.msg}`}>
              {each.loc !== "" && <code>{each.loc}: </code>}
              {each.msg}
            </li>
          ))}
        </ul>
      )}
    </Alert>
  );
}
