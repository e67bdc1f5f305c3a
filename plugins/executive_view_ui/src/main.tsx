import { lazy, Suspense, useEffect, type ComponentType, type FC } from "react";
import { useLocation, useNavigate } from "react-router-dom";

import { INSTANCE_TAB, PAGES, STREAM_TAB, STRIP } from "./names";
import { Boundary } from "./ui/boundary";

/** What the host hands to a component, depending on where it stands. */
export interface HostProps {
  dagId?: string;
  runId?: string;
}

type Part = "Pages" | "StreamTab" | "InstanceTab" | "Strip";

let madeAnew = false;

/**
 * What the host had to load stands elsewhere in its tree than what is there already: with the first change of the
 * address it makes our page anew, and an opened menu, the focus and the zoom are gone. Going to where one is already has
 * it do that once, and before anybody has begun.
 */
function MadeAnew() {
  const { pathname, search, hash, state } = useLocation();
  const navigate = useNavigate();
  useEffect(() => {
    if (!madeAnew) {
      madeAnew = true;
      void navigate({ pathname, search, hash }, { replace: true, state });
    }
  });
  return null;
}

/**
 * A component that loads the rest when it is first shown, and that never lets an error out: one that reaches the host
 * takes the host's whole page down.
 */
function guarded(part: Part): FC<HostProps> {
  const Loaded = lazy(async (): Promise<{ default: ComponentType<HostProps> }> => {
    const app = await import("./app");
    return { default: app[part] };
  });
  const Guarded: FC<HostProps> = (props) => (
    <Boundary quiet={part === "Strip"}>
      <MadeAnew />
      <Suspense fallback={null}>
        <Loaded {...props} />
      </Suspense>
    </Boundary>
  );
  Guarded.displayName = part;
  return Guarded;
}

// The host ignores what a module exports. It imports this file once and then looks up each name.
const host = globalThis as unknown as Record<string, FC<HostProps>>;
host[PAGES] = guarded("Pages");
host[STREAM_TAB] = guarded("StreamTab");
host[INSTANCE_TAB] = guarded("InstanceTab");
host[STRIP] = guarded("Strip");
