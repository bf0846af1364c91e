import { useEffect } from "preact/hooks";

/** Name the view in the title of the window. */
export function useTitle(title: string): void {
  useEffect(() => {
    document.title = `${title} · Workbench`;
  }, [title]);
}
