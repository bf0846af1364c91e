// A stored file, by its hash: its text, or why it is not shown.

import type { ComponentChildren } from "preact";
import { content, MAX_SHOWN, type ContentOwner } from "../components/contents.js";
import { size } from "../components/format.js";
import { printable } from "../components/printable.js";
import { useResource } from "../components/resource.js";
import { Empty, Failed, Loading } from "../components/states.js";

interface StoredFileProps {
  owner: ContentOwner;
  path: string;
  sha256: string;
  /** Shows the text. */
  children: (text: string) => ComponentChildren;
}

export function StoredFile({ owner, path, sha256, children }: StoredFileProps) {
  const read = useResource(() => content(owner, sha256), [sha256]);
  const { value } = read;
  return (
    <article class="file-pane" aria-labelledby="file-name">
      <header class="row">
        <h2 id="file-name" class="file-name">
          <bdi>{printable(path)}</bdi>
        </h2>
        {value !== undefined && <span class="quiet">{size(value.bytes)}</span>}
      </header>
      {value === undefined ? (
        read.error !== undefined ? (
          <Failed error={read.error} retry={read.reload} />
        ) : (
          <Loading what="the file" />
        )
      ) : value.text === undefined ? (
        <Empty>This file is not text.</Empty>
      ) : value.bytes > MAX_SHOWN ? (
        <Empty>This file is too large to be shown.</Empty>
      ) : (
        children(value.text)
      )}
    </article>
  );
}
