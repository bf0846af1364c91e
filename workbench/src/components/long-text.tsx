import { useState } from "preact/hooks";
import { Button } from "./button.js";
import { count } from "./format.js";

/** Characters that are drawn at once: a page stands still while it lays out megabytes. */
const SHOWN = 20_000;
/** Characters of a piece. While a text grows only its last piece changes, and the browser measures no other again. */
const PIECE = 2_000;

interface LongTextProps {
  text: string;
  /** Whether the end is shown first, as for a text that grows. */
  end?: boolean;
}

/** A text with its line ends, of which only a part is shown at first when it is long. */
export function LongText({ text, end = false }: LongTextProps) {
  const [whole, setWhole] = useState(false);
  if (text.length <= SHOWN || whole) return <div class="text">{pieces(text, 0, text.length)}</div>;
  const more = (
    <Button kind="quiet" onClick={() => setWhole(true)}>
      Show all {count(text.length)} characters
    </Button>
  );
  const first = end ? Math.ceil((text.length - SHOWN) / PIECE) * PIECE : 0;
  return (
    <>
      {end && more}
      <div class="text">{pieces(text, first, end ? text.length : SHOWN)}</div>
      {!end && more}
    </>
  );
}

function pieces(text: string, first: number, last: number) {
  const found = [];
  for (let at = first; at < last; at += PIECE)
    found.push(<span key={at}>{text.slice(boundary(text, at), boundary(text, Math.min(at + PIECE, last)))}</span>);
  return found;
}

/** A place in a text that is not within a character of two units. */
function boundary(text: string, at: number): number {
  const unit = text.charCodeAt(at);
  return unit >= 0xdc00 && unit < 0xe000 ? at + 1 : at;
}
