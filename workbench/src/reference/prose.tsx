// Texts of the descriptions: sentences with `code`, and links of which only the words are shown.

/** A text as a paragraph. */
export function Prose({ text }: { text: string | undefined }) {
  if (!text) return null;
  return (
    <p class="prose">
      <Sentences text={text} />
    </p>
  );
}

/** The path of a call, which is broken at its slashes where it has to be. */
export function CallPath({ path }: { path: string }) {
  return (
    <>
      {path.split(/(?=\/)/).map((part, index) => (
        <>
          {index > 0 && <wbr />}
          {part}
        </>
      ))}
    </>
  );
}

/** A text within another element. */
export function Sentences({ text }: { text: string }) {
  const parts = text.replace(/\[([^\]]+)\]\([^)]*\)/g, "$1").split("`");
  return <>{parts.map((part, index) => (index % 2 === 1 ? <code>{part}</code> : part))}</>;
}
