// Texts of the descriptions: sentences with `code`, and links of which only the words are shown.

export function Prose({ text }: { text: string | undefined }) {
  if (!text) return null;
  const parts = text.replace(/\[([^\]]+)\]\([^)]*\)/g, "$1").split("`");
  return <p class="prose">{parts.map((part, index) => (index % 2 === 1 ? <code>{part}</code> : part))}</p>;
}
