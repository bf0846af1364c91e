// Dark, light, or what the system prefers.

import { signal } from "@preact/signals";
import { Button } from "./components/button.js";

type Theme = "system" | "light" | "dark";
const KEY = "ideo.theme";
const NEXT: Record<Theme, Theme> = { system: "dark", dark: "light", light: "system" };

const stored = localStorage.getItem(KEY);
export const theme = signal<Theme>(stored === "dark" || stored === "light" ? stored : "system");

theme.subscribe((value) => {
  if (value === "system") {
    localStorage.removeItem(KEY);
    delete document.documentElement.dataset["theme"];
  } else {
    localStorage.setItem(KEY, value);
    document.documentElement.dataset["theme"] = value;
  }
});

export function ThemeButton() {
  return (
    <Button kind="quiet" onClick={() => (theme.value = NEXT[theme.value])}>
      Theme: {theme.value}
    </Button>
  );
}
