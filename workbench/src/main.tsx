// The page: a header, and the view that the address names.

import { render, type ComponentType } from "preact";
import { useEffect, useLayoutEffect, useState } from "preact/hooks";
import { Announcements } from "./components/announce.js";
import { FailedView, Loading } from "./components/states.js";
import { useTitle } from "./components/title.js";
import { takeToken } from "./hub.js";
import { Header } from "./header.js";
import { address, matched, type Params } from "./router.js";
import { TokenDialog } from "./token-dialog.js";

export interface ViewProps {
  params: Params;
}

type View = ComponentType<ViewProps>;

/** The addresses, and how the code of each view is loaded: only when it is opened. */
const VIEWS: Record<string, () => Promise<{ default: View }>> = {
  "/": () => import("./watch/start-view.js"),
  "/runs/{thread}": () => import("./watch/watch-view.js"),
  "/runs/{thread}/history": () => import("./history/run-history-view.js"),
  "/proposals/{proposal}": () => import("./review/review-view.js"),
  "/drafts/{workflow}": () => import("./history/draft-view.js"),
  "/inspector/{thread}": () => import("./inspector/inspector-view.js"),
  "/api": () => import("./reference/reference-view.js"),
  "/share/{link}": () => import("./share/share-view.js"),
};

function Page() {
  const route = matched(address.value.path, Object.keys(VIEWS));
  return (
    <>
      <a class="skip" href={`#${address.value.path}`} onClick={() => document.getElementById("main")?.focus()}>
        Skip to the content
      </a>
      <Header />
      <main id="main" tabIndex={-1}>
        {route === undefined ? (
          <NoPage />
        ) : (
          <Loaded key={address.value.path} pattern={route.pattern} params={route.params} />
        )}
      </main>
      <TokenDialog />
      <Announcements />
    </>
  );
}

function NoPage() {
  useTitle("No page");
  return (
    <section class="view">
      <h1>There is no page at this address</h1>
      <p>
        <a href="#/">Go to your workflows</a>
      </p>
    </section>
  );
}

/** A view, once its code is loaded. */
function Loaded({ pattern, params }: { pattern: string; params: Params }) {
  const [loaded, setLoaded] = useState<{ View?: View; error?: unknown }>({});
  useEffect(() => {
    let current = true;
    VIEWS[pattern]!().then(
      ({ default: View }) => current && setLoaded({ View }),
      (error: unknown) => current && setLoaded({ error }),
    );
    return () => {
      current = false;
    };
  }, [pattern]);
  useFocus();
  if (loaded.error !== undefined) return <FailedView what="The view" error={loaded.error} />;
  return loaded.View === undefined ? <Loading what="the view" /> : <loaded.View params={params} />;
}

/** Whether the page was opened just now: then the focus stays where the browser begins. */
let opening = true;

/** Put the focus on a view that replaces another, so that keyboard and screen reader go on there. */
function useFocus(): void {
  // Before the next key comes.
  useLayoutEffect(() => {
    if (!opening) document.getElementById("main")?.focus();
    opening = false;
  }, []);
}

takeToken();
const page = document.getElementById("page")!;
page.replaceChildren();
render(<Page />, page);
