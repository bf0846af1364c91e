// Why a file cannot come in as it is, or not be stored everywhere: the hub's codes in words.

import type { FileDiff } from "@bizmatters/ide-orchestrator";
import { useState } from "preact/hooks";
import { Button } from "../components/button.js";
import { printable } from "../components/printable.js";

const PORTABILITY: Record<string, string> = {
  collision: "On some systems it is the same file as another one: the paths differ only in what these ignore.",
  above_a_file: "It cannot exist beside another file, whose folder has its path.",
  under_a_file: "It cannot exist beside another file, which has the path of its folder.",
  device_name: "On Windows its name is a device.",
  trailing_dot_or_space: "On Windows the dots and spaces at the end of a name are lost.",
  reserved_character: "It has a character that Windows cannot store.",
  colon: "It has a colon, which names a drive or a stream on Windows.",
  not_normalized: "On some systems its name changes: it is not in NFC.",
  deceptive_character:
    "Its name is shown as another one: it has characters that are invisible or change the direction.",
  empty_segment: "Its path changes: it has two slashes in a row.",
  home_folder: "On some systems it is taken for a home folder: it starts with a tilde.",
  long_segment: "It has a name of more than 255 bytes, which some systems cannot store.",
};

const REJECTIONS: Record<string, string> = {
  no_file_name: "Its path has no file name.",
  too_long: "Its path is too long.",
  too_deep: "Its path has too many folders.",
  lone_surrogate: "Its path has half of a character.",
  control_character: "Its path has a control character.",
  separator: "Its path has a backslash, or a character that looks like a slash or backslash.",
  empty_segment: "Its path starts with two slashes.",
  dot_segment: "Its path leads to the folder itself or out of it.",
  repository_folder: "Its path is in a repository's own folder.",
  too_many_files: "The run has more files than a proposal may have.",
  too_large: "The run has more bytes than a proposal may have.",
  unreadable: "The runtime's entry is not a file in any known form; this is the entry.",
};

interface MarksProps {
  diff: FileDiff;
  /** Accept the file under another path; undefined when nothing can be decided. */
  onNewPath: ((path: string) => void) | undefined;
}

export function Marks({ diff, onNewPath }: MarksProps) {
  const sentences = diff.portability.map((mark) => PORTABILITY[mark] ?? `Not for every system: ${mark}.`);
  return (
    <>
      {diff.rejection !== null && (
        <div class="notice bad">
          <strong>Unsafe: {diff.rejection.replaceAll("_", " ")}</strong>
          <p>
            {REJECTIONS[diff.rejection] ?? "It cannot be written safely."} It stays out unless you give it another path.
          </p>
        </div>
      )}
      {sentences.length > 0 && (
        <div class="notice warn">
          <strong>Not for every system: {diff.portability.join(", ").replaceAll("_", " ")}</strong>
          {sentences.map((each) => (
            <p>{each}</p>
          ))}
        </div>
      )}
      {diff.changed_in_draft && (
        <div class="notice warn">
          <strong>Changed in the draft</strong>
          <p>The draft has other changes of this file since the run started. Accepting merges both.</p>
        </div>
      )}
      {diff.needs_new_path && <NewPath key={`${diff.path_id} ${diff.path}`} diff={diff} onNewPath={onNewPath} />}
    </>
  );
}

function NewPath({ diff, onNewPath }: MarksProps) {
  const [path, setPath] = useState(diff.new_path ?? "");
  if (onNewPath === undefined) return diff.new_path === null ? null : <p>Accepted as {printable(diff.new_path)}.</p>;
  const submit = (event: Event) => {
    event.preventDefault();
    onNewPath(path.trim());
  };
  return (
    <form class="row new-path" onSubmit={submit}>
      <label class="field grow">
        New path of this file
        <input
          value={path}
          required
          placeholder="/folder/name.md"
          spellcheck={false}
          onInput={({ currentTarget }) => setPath(currentTarget.value)}
        />
      </label>
      <Button kind="primary" type="submit">
        Accept under this path
      </Button>
      {diff.new_path !== null && <p class="quiet">Accepted as {printable(diff.new_path)}.</p>}
    </form>
  );
}
