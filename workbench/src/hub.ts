// The hub and the token, in one place. The token is in this tab's session storage alone.

import { Hub } from "@bizmatters/ide-orchestrator";
import { computed, signal } from "@preact/signals";

const KEY = "ideo.token";

/** The token; empty without one. */
export const token = signal(sessionStorage.getItem(KEY) ?? "");
/** Set while a person is asked for a token: why. */
export const tokenWanted = signal<string | undefined>(undefined);
/** The user that the token names, as the token says it; the hub checks it. */
export const userName = computed(() => claim(token.value, "email"));

let answers: ((token: string) => void)[] = [];

/** Take the token out of the address (`#token=…`), which must not keep it. */
export function takeToken(): void {
  const given = /^#token=([^&]+)/.exec(location.hash)?.[1];
  if (given !== undefined) {
    history.replaceState(null, "", "#/");
    setToken(decodeURIComponent(given));
    dispatchEvent(new HashChangeEvent("hashchange"));
  }
  // A share link is enough for what it shows.
  if (token.value === "" && !location.hash.startsWith("#/share/")) tokenWanted.value = "The workbench needs a token to call the hub.";
}
addEventListener("hashchange", () => location.hash.startsWith("#token=") && takeToken());

export function setToken(value: string): void {
  sessionStorage.setItem(KEY, value);
  token.value = value;
  tokenWanted.value = undefined;
  for (const answer of answers.splice(0)) answer(value);
}

export function forgetToken(): void {
  sessionStorage.removeItem(KEY);
  token.value = "";
  tokenWanted.value = "The token was removed from this tab.";
}

/** The token that there is; without one, or when the hub rejected it, the one that a person enters. */
export function askToken(rejected?: string): string | Promise<string> {
  if (token.value !== "" && token.value !== rejected) return token.value;
  if (rejected !== undefined) tokenWanted.value = "The hub rejected the token: it has ended, or is wrong.";
  return new Promise((resolve) => answers.push(resolve));
}

/** The hub, as the user of the token sees it. */
export const hub = new Hub({ url: location.origin, token: askToken });

function claim(jwt: string, name: string): string | undefined {
  try {
    const bytes = atob(jwt.split(".")[1]!.replaceAll("-", "+").replaceAll("_", "/"));
    const claims = JSON.parse(new TextDecoder().decode(Uint8Array.from(bytes, (each) => each.charCodeAt(0)))) as object;
    const value = (claims as Record<string, unknown>)[name];
    return typeof value === "string" ? value : undefined;
  } catch {
    return undefined;
  }
}
