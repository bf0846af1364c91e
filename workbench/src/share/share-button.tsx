// Opens the panel that shares a proposal.

import { useState } from "preact/hooks";
import { Button } from "../components/button.js";
import { Dialog } from "../components/dialog.js";
import { SharePanel } from "./share-panel.js";

interface ShareButtonProps {
  proposalId: string;
  /** The last event that the person sees: a link may begin there. */
  cursor?: number | undefined;
}

export function ShareButton({ proposalId, cursor }: ShareButtonProps) {
  const [open, setOpen] = useState(false);
  return (
    <>
      <Button onClick={() => setOpen(true)}>Share …</Button>
      {open && (
        <Dialog title="Share this proposal" onClose={() => setOpen(false)}>
          <SharePanel proposalId={proposalId} cursor={cursor} />
          <div class="row">
            <Button onClick={() => setOpen(false)}>Close</Button>
          </div>
        </Dialog>
      )}
    </>
  );
}
