// The people who have access to a proposal.

import type { User } from "@bizmatters/ide-orchestrator";
import { useState } from "preact/hooks";
import { announce } from "../components/announce.js";
import { Button } from "../components/button.js";
import { useResource } from "../components/resource.js";
import { Failed, messageOf } from "../components/states.js";
import { hub } from "../hub.js";

interface Grant {
  user_id: string;
  access_type: "owner" | "editor" | "viewer";
  email: string | null;
}

/** What people with access may do. */
const MAY: Record<Grant["access_type"], string> = {
  viewer: "read",
  editor: "read and decide",
  owner: "do everything",
};
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

export function PeoplePanel({ proposalId }: { proposalId: string }) {
  const path = `/api/proposals/${encodeURIComponent(proposalId)}/access`;
  const grants = useResource(
    async (signal) => (await hub.call<{ items: Grant[] }>("GET", path, { signal })).items,
    [proposalId],
  );
  const me = useResource((signal) => hub.me({ signal }), []);
  const [error, setError] = useState<string>();

  const act = async (said: string, work: () => Promise<unknown>): Promise<void> => {
    setError(undefined);
    try {
      await work();
      announce(said);
      grants.reload();
    } catch (failure) {
      setError(messageOf(failure));
    }
  };
  const grant = (event: SubmitEvent): void => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const who = String(form.get("who")).trim();
    void act("Access was granted.", async () => {
      const id = await userId(who);
      await hub.call("PUT", `${path}/${encodeURIComponent(id)}`, { body: { access_type: form.get("access") } });
    });
  };
  return (
    <>
      <h3>People</h3>
      {me.value !== undefined && (
        <p class="quiet">
          Others share with you by your user id: <code>{me.value.user_id}</code>
        </p>
      )}
      <form class="row" onSubmit={grant}>
        <label class="inline">
          User id or e-mail
          <input name="who" required autocomplete="off" spellcheck={false} />
        </label>
        <label class="inline">
          may
          <select name="access">
            {Object.entries(MAY).map(([access, name]) => (
              <option value={access}>{name}</option>
            ))}
          </select>
        </label>
        <Button type="submit">Grant access</Button>
      </form>
      {error !== undefined && (
        <p class="notice bad" role="alert">
          {error}
        </p>
      )}
      {grants.error !== undefined && <Failed error={grants.error} retry={grants.reload} />}
      <ul class="list">
        {grants.value?.map((each) => (
          <li class="row" key={each.user_id}>
            <span class="grow">
              {each.email ?? each.user_id} <span class="quiet">may {MAY[each.access_type]}</span>
            </span>
            {each.user_id !== me.value?.user_id && (
              <Button
                kind="danger"
                aria-label={`Revoke the access of ${each.email ?? each.user_id}`}
                onClick={() =>
                  void act("Access was revoked.", () =>
                    hub.call("DELETE", `${path}/${encodeURIComponent(each.user_id)}`),
                  )
                }
              >
                Revoke
              </Button>
            )}
          </li>
        ))}
      </ul>
    </>
  );
}

/** The id of a user, who is named by it or by a whole e-mail address. */
async function userId(who: string): Promise<string> {
  if (UUID.test(who)) return who;
  const { items } = await hub.call<{ items: User[] }>("GET", "/api/users", { query: { email: who } });
  const [found] = items;
  if (found === undefined) throw new Error("No such user can be found. Ask the person for the user id.");
  return found.user_id;
}
