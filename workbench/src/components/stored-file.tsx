// A stored file, by its hash: its text, or why it is not shown.

import type { ComponentChildren } from "preact";
import { content, MAX_SHOWN, type Content, type ContentOwner } from "./contents.js";
import { size } from "./format.js";
import { printable } from "./printable.js";
import { useResource, type Resource } from "./resource.js";
import { Empty, Failed, Loading } from "./states.js";

interface StoredFileProps {
  owner: ContentOwner;
  path: string;
  sha256: string;
  /** Shows the text. */
  children: (text: string) => ComponentChildren;
}

export function StoredFile({ owner, path, sha256, children }: StoredFileProps) {
  const read = useResource(() => content(owner, sha256), [sha256]);
  return (
    <article class="file-pane" aria-labelledby="file-name">
      <header class="row">
        <h2 id="file-name" class="file-name">
          <bdi>{printable(path)}</bdi>
        </h2>
        {read.value !== undefined && <span class="quiet">{size(read.value.bytes)}</span>}
      </header>
      <StoredText read={read}>{children}</StoredText>
    </article>
  );
}

interface StoredTextProps extends Pick<StoredFileProps, "children"> {
  read: Resource<Content>;
}

export function StoredText({ read: { value, error, reload }, children }: StoredTextProps) {
  if (value === undefined) return error === undefined ? <Loading what="the file" /> : <Failed error={error} retry={reload} />;
  if (value.text === undefined) return <Empty>This file is not text.</Empty>;
  if (value.bytes > MAX_SHOWN) return <Empty>This file is too large to be shown.</Empty>;
  return <>{children(value.text)}</>;
}
