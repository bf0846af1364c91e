// Recorded runs, where the runtime replays them: which one, and how it is played.

import { hub } from "../hub.js";

export interface Scenario {
  recording: string;
  /** Options of the directive, such as `speed=4`. */
  options: string;
}

const PACES = {
  "speed=1": "as it was recorded",
  "speed=4": "4 times as fast",
  "": "as fast as possible",
  "speed=4 drop=20": "4 times as fast, and the runtime's connection breaks once",
  "speed=4 silent=20": "until it falls silent; cancel it",
} as const;

/** The names of the recordings that the runtime replays; none for any other runtime. */
export async function readRecordings(signal: AbortSignal): Promise<string[]> {
  const { features } = await hub.info({ signal });
  if (!features.includes("development_controls")) return [];
  const { items } = await hub.call<{ items: string[] }>("GET", "/api/development/recordings", { signal });
  return items;
}

export function firstScenario(recordings: string[]): Scenario | undefined {
  const [recording] = recordings;
  return recording === undefined ? undefined : { recording, options: "speed=1" };
}

/** A prompt with the directive that the runtime of recorded runs reads. */
export function withScenario(prompt: string, scenario: Scenario | undefined): string {
  if (scenario === undefined) return prompt;
  return `${prompt} [[replay:${[scenario.recording, scenario.options].filter(Boolean).join(" ")}]]`;
}

interface ScenarioPickerProps {
  recordings: string[];
  scenario: Scenario;
  onChange: (scenario: Scenario) => void;
}

export function ScenarioPicker({ recordings, scenario, onChange }: ScenarioPickerProps) {
  return (
    <fieldset class="scenario">
      <legend>This runtime replays recorded runs, whatever the prompt</legend>
      <label class="field">
        Recording
        <select
          value={scenario.recording}
          onChange={({ currentTarget: { value } }) => onChange({ ...scenario, recording: value })}
        >
          {recordings.map((name) => (
            <option key={name}>{name}</option>
          ))}
        </select>
      </label>
      <label class="field">
        Played
        <select
          value={scenario.options}
          onChange={({ currentTarget: { value } }) => onChange({ ...scenario, options: value })}
        >
          {Object.entries(PACES).map(([value, name]) => (
            <option key={value} value={value}>
              {name}
            </option>
          ))}
        </select>
      </label>
    </fieldset>
  );
}
