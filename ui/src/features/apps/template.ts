/** A template's text in pieces, its variables set apart. */
export function templatePieces(text: string): { text: string; variable: boolean }[] {
  return text
    .split(/(\{\{[^{}]*\}\}|\{%[^%]*%\})/)
    .filter((piece) => piece !== "")
    .map((piece) => ({ text: piece, variable: /^\{[{%]/.test(piece) && piece.length > 3 }));
}

export interface Snippet {
  label: string;
  text: string;
}

/** How to call an app, in the words of the clients that people have. */
export function snippets(app: string, ref: string, isDefault: boolean, variables: Record<string, unknown>): Snippet[] {
  const model = isDefault ? `app:${app}` : `app:${app}@${ref}`;
  const has = Object.keys(variables).length > 0;
  const body = { model, messages: [{ role: "user", content: "Hello" }], ...(has ? { tetrad: { variables } } : {}) };
  const extra = has ? `\n    extra_body={"tetrad": {"variables": ${pythonLiteral(variables)}}},` : "";
  return [
    {
      label: "curl",
      text: `eval "$(tetrad env)"\ncurl "$OPENAI_BASE_URL/chat/completions" \\\n  -H "authorization: Bearer $OPENAI_API_KEY" \\\n  -H "content-type: application/json" \\\n  -d ${shellQuote(JSON.stringify(body))}`,
    },
    {
      label: "Python",
      text: `from openai import OpenAI\n\nclient = OpenAI()  # reads OPENAI_BASE_URL and OPENAI_API_KEY\nstream = client.chat.completions.create(\n    model=${JSON.stringify(model)},\n    messages=[{"role": "user", "content": "Hello"}],\n    stream=True,${extra}\n)\nfor chunk in stream:\n    print(chunk.choices[0].delta.content or "", end="", flush=True)`,
    },
    {
      label: "JavaScript",
      text: `import OpenAI from "openai";\n\nconst client = new OpenAI(); // reads OPENAI_BASE_URL and OPENAI_API_KEY\nconst answer = await client.chat.completions.create(${JSON.stringify(body, null, 2)});\nconsole.log(answer.choices[0].message.content);`,
    },
  ];
}

/** A text that a POSIX shell takes as one word. */
export function shellQuote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** JSON as Python writes it. */
export function pythonLiteral(value: unknown): string {
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(pythonLiteral).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}: ${pythonLiteral(item)}`).join(", ")}}`;
  return JSON.stringify(value);
}
