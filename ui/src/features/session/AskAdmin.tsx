/** The next step of those who may only look: who can do it. */
export function AskAdmin({ to }: { to: string }) {
  return (
    <p className="dim" style={{ margin: 0, textAlign: "center" }}>
      Ask an admin of this project to {to}.
    </p>
  );
}
