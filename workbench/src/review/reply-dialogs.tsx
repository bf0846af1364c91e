// The two other answers to a proposal: to reject it, or to ask for another round.

import { useState } from "preact/hooks";
import { announce } from "../components/announce.js";
import { Button } from "../components/button.js";
import { Dialog } from "../components/dialog.js";
import { Failed } from "../components/states.js";
import { hub } from "../hub.js";
import { go } from "../router.js";
import type { Review } from "./review.js";

interface ReplyDialogProps {
  review: Review;
  onClose: () => void;
}

/** Sends once at a time, and keeps why it was refused. */
function useSending(send: () => Promise<void>) {
  const [sending, setSending] = useState(false);
  const [refusal, setRefusal] = useState<unknown>();
  const submit = (event: Event) => {
    event.preventDefault();
    setSending(true);
    setRefusal(undefined);
    send()
      .catch(setRefusal)
      .finally(() => setSending(false));
  };
  return { sending, refusal, submit };
}

export function RejectDialog({ review, onClose }: ReplyDialogProps) {
  const [comment, setComment] = useState("");
  const { sending, refusal, submit } = useSending(async () => {
    await hub.proposals.reject(review.proposal.value!, { comment });
    announce("Rejected.");
    await review.load();
    onClose();
  });
  return (
    <Dialog title="Reject the proposal" onClose={onClose}>
      <form class="stack" onSubmit={submit}>
        <p>Nothing of it comes into the draft. This cannot be undone.</p>
        <label class="field">
          Comment (optional)
          <textarea
            rows={4}
            value={comment}
            autoFocus
            onInput={({ currentTarget }) => setComment(currentTarget.value)}
          />
        </label>
        {refusal !== undefined && <Failed error={refusal} />}
        <div class="row">
          <Button kind="danger" type="submit" busy={sending ? "Rejecting …" : undefined}>
            Reject
          </Button>
          <Button onClick={onClose}>Cancel</Button>
        </div>
      </form>
    </Dialog>
  );
}

export function ReviseDialog({ review, onClose }: ReplyDialogProps) {
  const [prompt, setPrompt] = useState("");
  const [keep, setKeep] = useState(true);
  const { sending, refusal, submit } = useSending(async () => {
    const started = await hub.proposals.revise(review.proposal.value!, { user_prompt: prompt, keep_decisions: keep });
    go(`/runs/${started.thread_id}`);
  });
  return (
    <Dialog title="Ask for another round" onClose={onClose}>
      <form class="stack" onSubmit={submit}>
        <p>
          The agent starts again from the same version of the draft, with what it made and what you write here. This
          proposal stays open.
        </p>
        <label class="field">
          What should be better
          <textarea
            rows={4}
            required
            value={prompt}
            autoFocus
            onInput={({ currentTarget }) => setPrompt(currentTarget.value)}
          />
        </label>
        <label class="row">
          <input type="checkbox" checked={keep} onChange={({ currentTarget }) => setKeep(currentTarget.checked)} />
          Keep the decisions where the next round changes the same
        </label>
        {refusal !== undefined && <Failed error={refusal} />}
        <div class="row">
          <Button kind="primary" type="submit" busy={sending ? "Starting …" : undefined}>
            Start the round
          </Button>
          <Button onClick={onClose}>Cancel</Button>
        </div>
      </form>
    </Dialog>
  );
}
