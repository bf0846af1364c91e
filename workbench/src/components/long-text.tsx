import { useState } from "preact/hooks";
import { Button } from "./button.js";
import { count } from "./format.js";

/** Characters that are drawn at once: a page stands still while it lays out megabytes. */
const SHOWN = 20_000;

interface LongTextProps {
  text: string;
  /** Whether the end is shown first, as for a text that grows. */
  end?: boolean;
}

/** A text with its line ends, of which only a part is shown at first when it is long. */
export function LongText({ text, end = false }: LongTextProps) {
  const [whole, setWhole] = useState(false);
  if (text.length <= SHOWN || whole) return <div class="text">{text}</div>;
  const more = (
    <Button kind="quiet" onClick={() => setWhole(true)}>
      Show all {count(text.length)} characters
    </Button>
  );
  return (
    <>
      {end && more}
      <div class="text">{end ? text.slice(-SHOWN) : text.slice(0, SHOWN)}</div>
      {!end && more}
    </>
  );
}
