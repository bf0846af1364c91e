// A component whose code is loaded when it is first shown.

import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Failed, Loading } from "./states.js";

/** @param what Such as "the editor". */
export function lazy<P extends object>(load: () => Promise<{ default: ComponentType<P> }>, what: string): ComponentType<P> {
  let loaded: ComponentType<P> | undefined;
  return function Lazy(props: P) {
    const [Component, setComponent] = useState<ComponentType<P> | undefined>(() => loaded);
    const [error, setError] = useState<unknown>();
    useEffect(() => {
      if (loaded !== undefined) return;
      load().then(({ default: found }) => {
        loaded = found;
        setComponent(() => found);
      }, setError);
    }, []);
    if (error !== undefined) return <Failed error={error} />;
    return Component === undefined ? <Loading what={what} /> : <Component {...props} />;
  };
}
