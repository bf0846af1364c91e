// The bar above every view.

import { forgetToken, token, userName } from "./hub.js";
import { address } from "./router.js";
import { Button } from "./components/button.js";
import { ThemeButton } from "./theme.js";

const LINKS = [
  ["/", "Workflows"],
  ["/api", "API"],
] as const;

export function Header() {
  return (
    <header class="bar">
      <a class="brand" href="#/">
        IDE Orchestrator
      </a>
      <nav aria-label="Views">
        {LINKS.map(([path, name]) => (
          <a href={`#${path}`} aria-current={currentOf(path)}>
            {name}
          </a>
        ))}
      </nav>
      <span class="grow" />
      {userName.value !== undefined && <span class="quiet user">{userName.value}</span>}
      <ThemeButton />
      {token.value !== "" && (
        <Button kind="quiet" onClick={forgetToken}>
          Sign out
        </Button>
      )}
    </header>
  );
}

/** Runs, proposals and drafts belong to workflows. */
function currentOf(path: string): "page" | "true" | undefined {
  const { path: now } = address.value;
  if (now === path) return "page";
  return path === "/" && !now.startsWith("/api") && !now.startsWith("/share/") ? "true" : undefined;
}
