// What an example shows of its call: the outcome, and the command that does the same in a terminal.

export interface Answered {
  status: string;
  headers: string;
  body: string;
  ms: number;
}

/** Of a longer body only the beginning is shown. */
const MAX_SHOWN = 64 << 10;
/** Headers that say something about the answer. */
const SHOWN = ["content-type", "etag", "location", "link", "retry-after", "idempotency-replayed", "stream-next-offset", "stream-closed"];

/** Call the hub and read its answer as text. Throws when it does not answer. */
export async function send(path: string, init: RequestInit): Promise<Answered> {
  const began = performance.now();
  const answer = await fetch(path, init);
  const text = await answer.text();
  return {
    status: `${answer.status} ${answer.statusText}`.trim(),
    headers: SHOWN.flatMap((name) => (answer.headers.has(name) ? [`${name}: ${answer.headers.get(name)}`] : [])).join("\n"),
    body: shown(text),
    ms: performance.now() - began,
  };
}

export function shown(text: string): string {
  let found = text;
  try {
    found = JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    // Not JSON.
  }
  return found.length > MAX_SHOWN ? `${found.slice(0, MAX_SHOWN)}\n… ${found.length - MAX_SHOWN} characters more` : found;
}

interface OutcomeProps {
  /** Why the call failed. */
  error: string | undefined;
  /** Those of a stream. */
  messages?: readonly string[];
  answered?: Answered | undefined;
}

/** What came of an example's call. */
export function Outcome({ error, messages = [], answered }: OutcomeProps) {
  return (
    <>
      {error !== undefined && (
        <p class="notice bad" role="alert">
          {error}
        </p>
      )}
      {messages.map((message, index) => (
        <pre class="payload" key={index} tabIndex={0} aria-label={`Message ${index + 1}`}>
          {message}
        </pre>
      ))}
      {answered !== undefined && <Answer answered={answered} />}
    </>
  );
}

function Answer({ answered }: { answered: Answered }) {
  return (
    <section class="stack" aria-label="Answer" role="status">
      <h3>
        {answered.status} <span class="quiet">after {Math.round(answered.ms)} ms</span>
      </h3>
      {answered.headers !== "" && <pre class="payload">{answered.headers}</pre>}
      {answered.body !== "" && (
        <pre class="payload" tabIndex={0} aria-label="The body of the answer">
          {answered.body}
        </pre>
      )}
    </section>
  );
}

/** A text for a shell, in quotes. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

export function Command({ text }: { text: string }) {
  return (
    <details>
      <summary>The same in a terminal</summary>
      <pre class="payload" tabIndex={0} aria-label="A command for a terminal">
        {text}
      </pre>
    </details>
  );
}
