// What a person may do to the connection, to see that the client goes on.

import { useState } from "preact/hooks";
import { announce } from "../components/announce.js";
import { Button } from "../components/button.js";
import { timeOfDay } from "../components/format.js";
import { messageOf } from "../components/states.js";
import type { Inspection } from "./inspection.js";
import { canSlowSockets } from "./observed.js";

const PACES = [
  ["", "at full speed"],
  ["16384", "16 KiB a second"],
  ["1024", "1 KiB a second"],
  ["0", "not at all"],
] as const;

interface ControlsProps {
  inspection: Inspection;
  /** Whether the hub lets callers restart it, and issues tokens that end soon. */
  development: boolean;
}

export function Controls({ inspection, development }: ControlsProps) {
  const [error, setError] = useState<string>();
  const [busy, setBusy] = useState<string>();
  const open = inspection.state.value === "following" || inspection.state.value === "connecting";
  const socket = inspection.transport.startsWith("ws");
  const ends = inspection.tokenEnds.value;

  const act = async (name: string, said: string, what: () => Promise<void>): Promise<void> => {
    setBusy(name);
    setError(undefined);
    try {
      await what();
      announce(said);
    } catch (failure) {
      setError(messageOf(failure));
    } finally {
      setBusy(undefined);
    }
  };
  const pace = inspection.wire.pace.bytesPerSecond;
  return (
    <fieldset class="controls">
      <legend>Disrupt the stream</legend>
      <Button disabled={!open || !inspection.wire.canCut} onClick={() => inspection.cut()}>
        Cut the connection
      </Button>
      <label class="inline">
        Read
        <select
          value={pace === undefined ? "" : String(pace)}
          disabled={socket && !canSlowSockets}
          onChange={({ currentTarget: { value } }) => inspection.setPace(value === "" ? undefined : Number(value))}
        >
          {PACES.map(([value, name]) => (
            <option value={value}>{name}</option>
          ))}
        </select>
      </label>
      {development && (
        <>
          <Button
            disabled={!open}
            busy={busy === "token" ? "Getting a token …" : undefined}
            onClick={() => act("token", "The next token ends in 5 seconds.", () => inspection.letTokenEnd())}
          >
            Let the token expire
          </Button>
          <Button
            busy={busy === "restart" ? "Asking the hub …" : undefined}
            onClick={() => act("restart", "The hub restarts.", () => inspection.restartHub())}
          >
            Restart the hub
          </Button>
        </>
      )}
      {!development && (
        <p class="quiet">
          With <code>ideo dev</code> the token can also expire, and the hub restart.
        </p>
      )}
      {socket && !canSlowSockets && <p class="quiet">This browser cannot read a WebSocket slowly: choose another transport.</p>}
      {ends !== undefined && <p>The token in use ends at {timeOfDay(ends)}.</p>}
      {error !== undefined && (
        <p class="error" role="alert">
          {error}
        </p>
      )}
    </fieldset>
  );
}
