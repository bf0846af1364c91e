// The slider over a run's events, with a mark for each event that changes files.

import { Button } from "../components/button.js";
import type { Mark, RunHistory } from "./run-history.js";

/** Marks on the page at most: nearer ones would lie on each other. */
const MAX_MARKS = 200;

export function Timeline({ history }: { history: RunHistory }) {
  const { newest, seq, chosen, ended } = history;
  const last = newest.value;
  const [before, after] = [history.nextChange(-1), history.nextChange(1)];
  return (
    <div class="timeline stack" role="group" aria-label="Time">
      <div class="slider">
        <input
          type="range"
          min={1}
          max={Math.max(last, 1)}
          value={seq.value}
          aria-label="Event"
          aria-valuetext={history.describe(seq.value)}
          onInput={({ currentTarget }) => (chosen.value = Number(currentTarget.value))}
        />
        <div class="ticks" aria-hidden="true">
          {apart(history.marks.value, last).map((mark) => (
            <span class={mark.files ? "tick files" : "tick"} style={{ left: `${share(mark.seq, last)}%` }} />
          ))}
        </div>
      </div>
      <div class="row">
        <Button disabled={before === undefined} onClick={() => (chosen.value = before)}>
          Previous change
        </Button>
        <Button disabled={after === undefined} onClick={() => (chosen.value = after)}>
          Next change
        </Button>
        <Button aria-pressed={chosen.value === undefined} onClick={() => (chosen.value = undefined)}>
          {ended.value ? "End" : "Live"}
        </Button>
        <label class="row inline">
          Event
          <input
            type="number"
            class="event-number"
            min={1}
            max={last}
            value={seq.value}
            onChange={({ currentTarget }) => {
              const wanted = currentTarget.valueAsNumber;
              if (Number.isSafeInteger(wanted)) chosen.value = Math.min(Math.max(wanted, 1), last);
            }}
          />
          of {last}
        </label>
        <span class="quiet">{history.happened(seq.value)}</span>
      </div>
    </div>
  );
}

/** How far along the slider an event is, in percent. */
function share(seq: number, last: number): number {
  return last <= 1 ? 0 : ((seq - 1) / (last - 1)) * 100;
}

/** Marks that are far enough from each other to be seen; those of files first. */
function apart(marks: readonly Mark[], last: number): Mark[] {
  const places = new Map<number, Mark>();
  for (const mark of marks) {
    const place = Math.round((share(mark.seq, last) / 100) * MAX_MARKS);
    if (mark.files || !places.has(place)) places.set(place, mark);
  }
  return [...places.values()];
}
