// A file that differs between two versions of a draft.

import type { FileDiff } from "@bizmatters/ide-orchestrator";
import { useState } from "preact/hooks";
import { StatusBadge } from "../components/badge.js";
import { Button } from "../components/button.js";
import { content, MAX_SHOWN, type ContentOwner } from "../components/contents.js";
import DiffView, { type Layout } from "../components/diff-view/diff-view.js";
import { useWide } from "../components/media.js";
import { printable } from "../components/printable.js";
import { useResource } from "../components/resource.js";
import { Empty, Failed, Loading } from "../components/states.js";

export function ComparedFile({ owner, diff }: { owner: ContentOwner; diff: FileDiff }) {
  const wide = useWide("(min-width: 960px)");
  const [chosen, setChosen] = useState<Layout>("unified");
  const read = useResource(() => Promise.all([content(owner, diff.base_sha256), content(owner, diff.sha256)]), [diff.base_sha256, diff.sha256]);
  const layout = wide ? chosen : "unified";
  const [base, text] = read.value ?? [];
  return (
    <article class="file-pane" aria-labelledby="file-name">
      <header class="row">
        <h2 id="file-name" class="file-name">
          <bdi>{printable(diff.path)}</bdi>
        </h2>
        <StatusBadge status={diff.kind} />
        {diff.old_path !== null && (
          <span class="quiet">
            from <bdi>{printable(diff.old_path)}</bdi>
          </span>
        )}
        <span class="grow" />
        {wide && (
          <Button aria-pressed={chosen === "split"} onClick={() => setChosen(chosen === "split" ? "unified" : "split")}>
            Side by side
          </Button>
        )}
      </header>
      {base === undefined || text === undefined ? (
        read.error !== undefined ? <Failed error={read.error} retry={read.reload} /> : <Loading what="the file" />
      ) : base.text === undefined || text.text === undefined ? (
        <Empty>This file is not text.</Empty>
      ) : base.bytes + text.bytes > MAX_SHOWN ? (
        <Empty>This file is too large to be shown.</Empty>
      ) : base.text === text.text ? (
        <Empty>The content is the same.</Empty>
      ) : (
        <DiffView path={diff.path} base={base.text} text={text.text} layout={layout} />
      )}
    </article>
  );
}
