// The files of the run as they are now, and the text of one.

import { useState } from "preact/hooks";
import { StatusBadge } from "../components/badge.js";
import { Button } from "../components/button.js";
import { content } from "../components/contents.js";
import { FileTree } from "../components/file-tree/file-tree.js";
import { size } from "../components/format.js";
import { lazy } from "../components/lazy.js";
import { memo } from "../components/memo.js";
import { printable } from "../components/printable.js";
import { useResource } from "../components/resource.js";
import { Empty } from "../components/states.js";
import { StoredText } from "../components/stored-file.js";
import type { RunFile } from "./run-state.js";

const CodeView = lazy(() => import("../components/code-view.js"), "the editor");

interface FilesPanelProps {
  threadId: string;
  files: readonly RunFile[];
}

/** Drawn again only when a file has changed, and not for each token. */
export const FilesPanel = memo(({ threadId, files }: FilesPanelProps) => {
  const [path, setPath] = useState<string>();
  const shown = files.find((file) => file.path === path);
  return (
    <section class="panel" aria-label="Files">
      <h2>
        Files {files.length > 0 && <span class="quiet">{files.length}</span>}
      </h2>
      {files.length === 0 ? (
        <Empty>The agent has written no file yet.</Empty>
      ) : (
        <FileTree
          label="Files of the run"
          items={files}
          selected={path}
          onSelect={(file) => setPath(file.path)}
          mark={(file) => (
            <>
              <span class="quiet">{size(file.bytes)}</span> <StatusBadge status={file.change} />
            </>
          )}
        />
      )}
      {shown !== undefined && <File threadId={threadId} file={shown} onClose={() => setPath(undefined)} />}
    </section>
  );
});

function File({ threadId, file, onClose }: { threadId: string; file: RunFile; onClose: () => void }) {
  return (
    <div class="stack">
      <div class="row">
        <h3 class="grow">
          <bdi>{printable(file.path)}</bdi>
        </h3>
        <span class="quiet">changed by event {file.seq}</span>
        <Button kind="quiet" onClick={onClose}>
          Close
        </Button>
      </div>
      {file.change === "deleted" ? (
        <Empty>The file was deleted.</Empty>
      ) : file.text !== undefined ? (
        <CodeView path={file.path} text={file.text} />
      ) : (
        <LeftOut threadId={threadId} file={file} />
      )}
    </div>
  );
}

/** A content that its event did not have as text. */
function LeftOut({ threadId, file }: { threadId: string; file: RunFile }) {
  const read = useResource(() => content({ refinement: threadId }, file.sha256), [file.sha256]);
  return <StoredText read={read}>{(text) => <CodeView path={file.path} text={text} />}</StoredText>;
}
