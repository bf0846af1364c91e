// Asks for a token where there is none, or the hub rejected it.

import { useEffect, useRef } from "preact/hooks";
import { Button } from "./components/button.js";
import { setToken, token, tokenWanted } from "./hub.js";

export function TokenDialog() {
  const dialog = useRef<HTMLDialogElement>(null);
  const input = useRef<HTMLTextAreaElement>(null);
  const why = tokenWanted.value;
  useEffect(() => {
    if (why !== undefined && dialog.current?.open === false) dialog.current.showModal();
  }, [why]);
  if (why === undefined) return null;
  const submit = (event: Event) => {
    event.preventDefault();
    const value = input.current!.value.trim();
    if (value !== "") setToken(value);
  };
  return (
    <dialog ref={dialog} class="dialog" aria-labelledby="token-title" onCancel={(event) => event.preventDefault()}>
      <form onSubmit={submit} class="stack">
        <h2 id="token-title">{token.value === "" ? "Enter a token" : "Enter a new token"}</h2>
        <p>{why} It stays in this tab, and is sent to this hub alone.</p>
        <p class="quiet">
          <code>ideo dev</code> prints an address with one; <code>ideo token --user EMAIL</code> makes another.
        </p>
        <label class="field">
          Token
          <textarea ref={input} rows={4} required spellcheck={false} autocomplete="off" autoFocus />
        </label>
        <div class="row">
          <Button kind="primary" type="submit">
            Use this token
          </Button>
        </div>
      </form>
    </dialog>
  );
}
