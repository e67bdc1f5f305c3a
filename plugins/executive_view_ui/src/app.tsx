import { QueryClientProvider } from "@tanstack/react-query";
import { lazy, Suspense, useEffect, type ReactNode } from "react";
import { useLocation } from "react-router-dom";

import { newQueryClient } from "./api/queries";
import { placeOf } from "./lib/paths";
import type { HostProps } from "./main";
import { Frame } from "./pages/frame";
import { Overview } from "./pages/overview";
import { Strip as StripContent } from "./pages/strip";
import styles from "./styles.css?inline";
import { Boundary } from "./ui/boundary";
import { Empty, Skeleton } from "./ui/states";
import { Told } from "./ui/told";

const Instances = lazy(() => import("./pages/instances"));
const Instance = lazy(() => import("./pages/instance"));
const Stream = lazy(() => import("./pages/stream"));
const Audit = lazy(() => import("./pages/audit"));
const Print = lazy(() => import("./pages/print"));

/** One for all our parts of the host: what one has asked for, another does not ask again. */
export const queries = newQueryClient();

/** The style sheet comes with the code: the host loads one file and no more. */
function useStyles(): void {
  useEffect(() => {
    const id = "enterprise-orch-styles";
    if (document.getElementById(id) === null) {
      const sheet = document.createElement("style");
      sheet.id = id;
      sheet.textContent = styles;
      document.head.append(sheet);
    }
  }, []);
}

function Root({ children }: { children: ReactNode }) {
  useStyles();
  return <QueryClientProvider client={queries}>{children}</QueryClientProvider>;
}

/** The pages behind the navigation item, told apart by the address. */
export function Pages() {
  const { pathname } = useLocation();
  const place = placeOf(pathname);
  if (place.page === "print") {
    return (
      <Root>
        <Suspense fallback={<Skeleton />}>
          <Print />
        </Suspense>
      </Root>
    );
  }
  return (
    <Root>
      <Frame page={place.page}>
        {/* A page that fails leaves the way to the others open. */}
        <Boundary key={pathname}>
          <Suspense fallback={<Skeleton />}>
            {place.page === "overview" ? <Overview /> : null}
            {place.page === "instances" ? <Instances /> : null}
            {place.page === "instance" ? <Instance dagId={place.dagId} runId={place.runId} /> : null}
            {place.page === "stream" ? <Stream dagId={place.dagId} /> : null}
            {place.page === "audit" ? <Audit /> : null}
            {place.page === "unknown" ? <Empty title="There is no such page">Choose one of the pages above.</Empty> : null}
          </Suspense>
        </Boundary>
      </Frame>
      <Told />
    </Root>
  );
}

/** In a DAG of the host. */
export function StreamTab({ dagId }: HostProps) {
  return (
    <Root>
      <div className="eo eo-embedded">
        <Suspense fallback={<Skeleton />}>{dagId ? <Stream dagId={dagId} embedded /> : null}</Suspense>
      </div>
      <Told />
    </Root>
  );
}

/** In a run of the host. */
export function InstanceTab({ dagId, runId }: HostProps) {
  return (
    <Root>
      <div className="eo eo-embedded">
        <Suspense fallback={<Skeleton />}>{dagId && runId ? <Instance dagId={dagId} embedded runId={runId} /> : null}</Suspense>
      </div>
      <Told />
    </Root>
  );
}

/** On the home page of the host. */
export function Strip() {
  return (
    <Root>
      <StripContent />
    </Root>
  );
}
