import { Button, Modal, Select, Textarea, TextInput } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { useRef, useState } from "react";
import { openChange, type Change } from "@/api/changes";
import { commitPrompt, type Checked, type Committed } from "@/api/prompts";
import { Failure } from "@/kit/Failure";
import { FloorNote } from "./PromptDiff";
import css from "./prompts.module.css";
import type { Use } from "./uses";

/** Makes a version of what is in the editor; no app changes by it. */
export function SaveModal({ project, name, text, expected, checked, close, done }: { project: string; name: string; text: string; expected: string; checked: Checked | undefined; close: () => void; done: (made: Committed) => void }) {
  const [reason, setReason] = useState("");
  const [outcome, setOutcome] = useState("");
  const save = useMutation({ mutationFn: () => commitPrompt(project, name, { text, reason, expected_outcome: outcome, expected }), onSuccess: done });
  return (
    <Modal opened onClose={close} title={`Save a version of ${name}`} size="lg">
      <form
        className={css.modal}
        onSubmit={(event) => {
          event.preventDefault();
          save.mutate();
        }}
      >
        <Failure error={save.error} />
        {checked && <FloorNote floor={checked.floor} least={checked.least} />}
        <p className="dim">A version is kept for good. Apps go on with the version that their releases pin, until a change request is merged.</p>
        <TextInput label="Why" description="What was wrong, or what is wanted" maxLength={4000} data-autofocus value={reason} onChange={(event) => setReason(event.currentTarget.value)} />
        <Textarea label="Expected outcome" description="How anybody will see that it helped" autosize minRows={2} maxLength={4000} value={outcome} onChange={(event) => setOutcome(event.currentTarget.value)} />
        <div className={css.buttons}>
          <Button variant="default" onClick={close}>
            Cancel
          </Button>
          <Button type="submit" loading={save.isPending}>
            Save version {checked?.least ?? ""}
          </Button>
        </div>
      </form>
    </Modal>
  );
}

/** Proposes what is in the editor for an app: others review it, its gates check it, and a merge lets it out. */
export function ProposeModal({ project, name, text, uses, checked, close, done }: { project: string; name: string; text: string; uses: Use[]; checked: Checked | undefined; close: () => void; done: (made: Change) => void }) {
  const labels = uses.map((use) => `${use.app}/${use.ref}`);
  const [target, setTarget] = useState(labels[0] ?? "");
  const [title, setTitle] = useState("");
  const [reason, setReason] = useState("");
  const [outcome, setOutcome] = useState("");
  // Sent again after a lost answer, it is the same change request.
  const key = useRef(crypto.randomUUID());
  const use = uses[labels.indexOf(target)];
  const propose = useMutation({
    mutationFn: () => {
      if (use === undefined) throw new Error("Choose where the change is to go.");
      return openChange(project, { app: use.app, ref: use.ref, title: title.trim(), description: reason, expected_outcome: outcome, draft: false, key: key.current, parts: [{ part: `prompt.${use.role}`, content: text, name, remove: false }] });
    },
    onSuccess: done,
  });
  return (
    <Modal opened onClose={close} title="Propose this change" size="lg">
      <form
        className={css.modal}
        onSubmit={(event) => {
          event.preventDefault();
          if (title.trim() !== "" && use !== undefined) propose.mutate();
        }}
      >
        <Failure error={propose.error} />
        {checked && <FloorNote floor={checked.floor} />}
        <Select label="For" description="The app and ref that will answer with it once it is merged" data={labels} value={target} allowDeselect={false} onChange={(value) => setTarget(value ?? "")} />
        <TextInput label="Title" description="What changes, in a few words" required maxLength={200} data-autofocus value={title} onChange={(event) => setTitle(event.currentTarget.value)} />
        <Textarea label="Reason" description="What was wrong, or what is wanted" autosize minRows={2} maxLength={20_000} value={reason} onChange={(event) => setReason(event.currentTarget.value)} />
        <Textarea label="Expected outcome" description="How anybody will see that it helped" autosize minRows={2} maxLength={4000} value={outcome} onChange={(event) => setOutcome(event.currentTarget.value)} />
        <p className="dim">Nothing that users see changes yet: reviewers are asked first, and the ref's gates must pass.</p>
        <div className={css.buttons}>
          <Button variant="default" onClick={close}>
            Cancel
          </Button>
          <Button type="submit" loading={propose.isPending} disabled={title.trim() === "" || use === undefined}>
            Open change request
          </Button>
        </div>
      </form>
    </Modal>
  );
}
