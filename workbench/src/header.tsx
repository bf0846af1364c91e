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
          <a href={`#${path}`} aria-current={address.value.path === path ? "page" : undefined}>
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
