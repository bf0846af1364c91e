// A proposal by a share link: its events from the link's cursor on, and its files. Nothing can be changed.

import { Hub, ProblemError, type Proposal } from "@bizmatters/ide-orchestrator";
import { lazy } from "../components/lazy.js";
import { useMemo, useState } from "preact/hooks";
import { StatusBadge } from "../components/badge.js";
import { FileTree } from "../components/file-tree/file-tree.js";
import { promptText } from "../components/prompt.js";
import { useResource } from "../components/resource.js";
import { Empty, Failed, Loading } from "../components/states.js";
import { useTitle } from "../components/title.js";
import { StoredFile } from "../components/stored-file.js";
import type { ViewProps } from "../main.js";
import { address } from "../router.js";
import { takeSecret } from "./secrets.js";
import { SharedRun } from "./shared-run.js";

const CodeView = lazy(() => import("../components/code-view.js"), "the editor");

export default function ShareView({ params }: ViewProps) {
  const id = params["link"]!;
  useTitle("Shared proposal");
  const [secret] = useState(() => takeSecret(id, address.value.query));
  if (secret === undefined) {
    return (
      <section class="view">
        <h1>Shared proposal</h1>
        <p class="notice warn">This address lacks the secret of the link. Open the link that you were sent again.</p>
      </section>
    );
  }
  return <Shared id={id} secret={secret} />;
}

function Shared({ id, secret }: { id: string; secret: string }) {
  const hub = useMemo(() => new Hub({ url: location.origin, token: secret }), [secret]);
  const proposal = useResource((signal) => hub.proposals.get(id, {}, { signal }), [hub, id]);
  const { value, error, reload } = proposal;
  if (value === undefined) {
    return (
      <section class="view">
        <h1>Shared proposal</h1>
        {error === undefined ? <Loading what="the proposal" /> : <Refused error={error} retry={reload} />}
      </section>
    );
  }
  return (
    <section class="view">
      <div class="row">
        <h1>Shared proposal</h1>
        <StatusBadge status={value.resolution ?? value.status} />
        <span class="badge">read only</span>
      </div>
      <p class="shared-prompt">{promptText(value.user_prompt)}</p>
      {error !== undefined && <Refused error={error} retry={reload} />}
      <SharedRun hub={hub} threadId={value.thread_id} onEnd={() => value.generated_files === null && reload()} />
      <Files hub={hub} proposal={value} />
    </section>
  );
}

function Refused({ error, retry }: { error: unknown; retry: () => void }) {
  const over = error instanceof ProblemError && error.status === 401;
  if (over) return <p class="notice bad" role="alert">The link has expired, or was revoked.</p>;
  return <Failed error={error} retry={retry} />;
}

function Files({ hub, proposal }: { hub: Hub; proposal: Proposal }) {
  const paths = Object.keys(proposal.generated_files ?? {}).sort();
  const [path, setPath] = useState<string>();
  const chosen = path ?? paths[0];
  const file = chosen === undefined ? undefined : proposal.generated_files?.[chosen];
  if (proposal.generated_files === null) return <Empty>The files are here once the run has ended.</Empty>;
  if (chosen === undefined || file === undefined) return <Empty>The proposal has no files.</Empty>;
  return (
    <section class="stack" aria-label="Files">
      <h2>Files</h2>
      <div class="shared-files">
        <FileTree
          label="Files of the proposal"
          items={paths.map((each) => ({ key: each, path: each }))}
          selected={chosen}
          onSelect={(item) => setPath(item.path)}
        />
        <StoredFile key={file.sha256} owner={{ proposal: proposal.id, hub }} path={chosen} sha256={file.sha256}>
          {(text) => <CodeView path={chosen} text={text} />}
        </StoredFile>
      </div>
    </section>
  );
}
