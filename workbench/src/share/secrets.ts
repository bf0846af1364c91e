// The secrets of share links. The address of the page does not keep one: it is in this tab's session storage.

import { replaceQuery } from "../router.js";

const KEY = "ideo.share.";

/** The address of this page that shows a proposal by a link. What follows `#` is sent to no server. */
export function shareAddress(proposalId: string, secret: string): string {
  return `${location.origin}${location.pathname}#/share/${encodeURIComponent(proposalId)}?secret=${encodeURIComponent(secret)}`;
}

/** The secret for a proposal, from the address or from this tab. */
export function takeSecret(proposalId: string, query: URLSearchParams): string | undefined {
  const given = query.get("secret");
  if (given !== null) {
    sessionStorage.setItem(KEY + proposalId, given);
    replaceQuery({});
    return given;
  }
  return sessionStorage.getItem(KEY + proposalId) ?? undefined;
}
