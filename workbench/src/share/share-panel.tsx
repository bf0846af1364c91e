// Who else sees a proposal: links for anybody, and people by name.

import { useState } from "preact/hooks";
import { announce } from "../components/announce.js";
import { Button } from "../components/button.js";
import { dateTime } from "../components/format.js";
import { useResource } from "../components/resource.js";
import { Empty, Failed, Loading, messageOf } from "../components/states.js";
import { hub } from "../hub.js";
import { PeoplePanel } from "./people-panel.js";
import { shareAddress } from "./secrets.js";

export interface ShareLink {
  id: string;
  after_seq: number;
  created_at: string;
  expires_at: string;
  secret: string | null;
}

const LIFETIMES = [
  [3600, "an hour"],
  [86_400, "a day"],
  [604_800, "a week"],
  [7_776_000, "90 days"],
] as const;

interface SharePanelProps {
  proposalId: string;
  /** The last event that the person sees: a link may begin there. */
  cursor?: number | undefined;
}

export function SharePanel({ proposalId, cursor = 0 }: SharePanelProps) {
  const path = `/api/proposals/${encodeURIComponent(proposalId)}/shares`;
  const links = useResource(
    async (signal) => (await hub.call<{ items: ShareLink[] }>("GET", path, { signal })).items,
    [proposalId],
  );
  const [made, setMade] = useState<ShareLink>();
  const [error, setError] = useState<string>();
  const [busy, setBusy] = useState<string>();

  const act = async (what: string, work: () => Promise<void>): Promise<void> => {
    setBusy(what);
    setError(undefined);
    try {
      await work();
      links.reload();
    } catch (failure) {
      setError(messageOf(failure));
    } finally {
      setBusy(undefined);
    }
  };
  const create = (event: SubmitEvent): void => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const body = { after_seq: Number(form.get("after")), expires_in_s: Number(form.get("lifetime")) };
    void act("create", async () => {
      setMade(await hub.call<ShareLink>("POST", path, { body }));
      announce("The link was created.");
    });
  };
  const revoke = (id: string): void => {
    void act(id, async () => {
      await hub.call("DELETE", `${path}/${encodeURIComponent(id)}`);
      if (made?.id === id) setMade(undefined);
      announce("The link was revoked.");
    });
  };

  return (
    <section class="stack share-panel" aria-label="Share">
      <h3>Links for anybody</h3>
      <p class="quiet">
        Anybody with a link can read this proposal, its files and its events, and nothing else, until the link expires or
        is revoked.
      </p>
      <form class="row" onSubmit={create}>
        <label class="inline">
          Valid for
          <select name="lifetime">
            {LIFETIMES.map(([seconds, name]) => (
              <option value={seconds} selected={seconds === 604_800}>
                {name}
              </option>
            ))}
          </select>
        </label>
        <label class="inline">
          Events
          <select name="after">
            <option value={0}>all</option>
            {cursor > 0 && <option value={cursor}>after {cursor}</option>}
          </select>
        </label>
        <Button kind="primary" type="submit" busy={busy === "create" ? "Creating the link …" : undefined}>
          Create a link
        </Button>
      </form>
      {made?.secret && <NewLink address={shareAddress(proposalId, made.secret)} />}
      {error !== undefined && (
        <p class="notice bad" role="alert">
          {error}
        </p>
      )}
      {links.error !== undefined && <Failed error={links.error} retry={links.reload} />}
      {links.value === undefined && links.error === undefined && <Loading what="the links" />}
      {links.value?.length === 0 && <Empty>There is no valid link.</Empty>}
      <ul class="list">
        {links.value?.map((link) => (
          <li class="row" key={link.id}>
            <span class="grow">
              {link.after_seq === 0 ? "All events" : `Events after ${link.after_seq}`}, until{" "}
              {dateTime(link.expires_at)}
            </span>
            <Button
              kind="danger"
              busy={busy === link.id ? "Revoking …" : undefined}
              aria-label={`Revoke the link of ${dateTime(link.created_at)}`}
              onClick={() => revoke(link.id)}
            >
              Revoke
            </Button>
          </li>
        ))}
      </ul>
      <PeoplePanel proposalId={proposalId} />
    </section>
  );
}

function NewLink({ address }: { address: string }) {
  const [copied, setCopied] = useState(false);
  const copy = async (): Promise<void> => {
    // Pages without TLS have no clipboard; the address is there to be selected.
    await navigator.clipboard?.writeText(address).then(
      () => setCopied(true),
      () => {},
    );
  };
  return (
    <div class="notice good">
      <label class="field">
        The link. It is shown only now.
        <input readOnly value={address} onFocus={({ currentTarget }) => currentTarget.select()} />
      </label>
      <div class="row">
        <Button onClick={() => void copy()}>{copied ? "Copied" : "Copy"}</Button>
      </div>
    </div>
  );
}
