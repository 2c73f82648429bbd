import { Fragment } from "react";
import kit from "@/kit/kit.module.css";
import { Scroll } from "@/kit/Page";
import css from "./bindings.module.css";
import { boundNames } from "./document";

/** What each logical name means in an environment. */
export function BoundNames({ document, label }: { document: Readonly<Record<string, unknown>> | null; label: string }) {
  const names = boundNames(document);
  if (names.length === 0) return <p className={css.none}>It binds no name: every name means itself.</p>;
  return (
    <Scroll label={label}>
      <table className={kit.table}>
        <thead>
          <tr>
            <th scope="col">Name</th>
            <th scope="col">Means here</th>
            <th scope="col">Models</th>
            <th scope="col">Secret</th>
            <th scope="col">Limit</th>
          </tr>
        </thead>
        <tbody>
          {names.map((each) => (
            <tr key={`${each.section} ${each.name}`}>
              <td>
                <span className="dim">{each.section}</span> <strong>{each.name}</strong>
              </td>
              <td className={css.text}>{each.means}</td>
              <td className={css.text}>
                {each.models.map(([model, there], i) => (
                  <Fragment key={model}>
                    {i > 0 && ", "}
                    {model} → <span className="mono">{there}</span>
                  </Fragment>
                ))}
                {each.models.length === 0 && <span className="dim">by their own names</span>}
              </td>
              <td className="mono">{each.secret || <span className="dim">–</span>}</td>
              <td>{each.limit || <span className="dim">–</span>}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}
