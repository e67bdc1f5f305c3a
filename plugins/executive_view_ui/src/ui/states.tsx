import type { ReactNode } from "react";

import { ApiProblem } from "../api/client";
import { Icon, type IconName } from "./icons";

/** What is being asked for, in grey: the page does not jump when it comes. */
export function Skeleton({ rows = 6, tiles = 0 }: { rows?: number; tiles?: number }) {
  return (
    <div aria-busy aria-label="Loading" className="eo-skeleton" role="status">
      {tiles > 0 ? (
        <div className="eo-tiles">
          {Array.from({ length: tiles }, (_, index) => (
            <i key={index} style={{ height: 84 }} />
          ))}
        </div>
      ) : null}
      {Array.from({ length: rows }, (_, index) => (
        <i key={index} style={{ height: 30, opacity: 1 - index / (rows + 2) }} />
      ))}
    </div>
  );
}

function Notice({ icon, title, children }: { icon: IconName; title: string; children?: ReactNode }) {
  return (
    <div className="eo-notice">
      <Icon name={icon} size={28} />
      <h2>{title}</h2>
      <div>{children}</div>
    </div>
  );
}

export const Empty = ({ title, children }: { title: string; children?: ReactNode }) => (
  <Notice icon="dash" title={title}>
    {children}
  </Notice>
);

/** Why there is nothing to see, and what to do: never an empty table or a zero. */
export function Trouble({ error, retry, missing = "There is no such page" }: { error: unknown; retry?: (() => void) | undefined; missing?: string | undefined }) {
  const status = error instanceof ApiProblem ? error.status : 0;
  const detail = error instanceof Error ? error.message : String(error);
  const again = retry ? (
    <button className="eo-button" onClick={retry} type="button">
      <Icon name="retry" />
      Try again
    </button>
  ) : null;
  if (status === 401) {
    return (
      <Notice icon="lock" title="You are signed out">
        <p>Sign in again to go on where you were.</p>
        <button className="eo-button" onClick={() => globalThis.location.reload()} type="button">
          Sign in
        </button>
      </Notice>
    );
  }
  if (status === 403) {
    return (
      <Notice icon="lock" title="You may not see this">
        <p>Airflow's permissions do not let you read it. Whoever administers Airflow can change that.</p>
      </Notice>
    );
  }
  if (status === 404) {
    return (
      <Notice icon="search" title={missing}>
        <p>{detail}</p>
      </Notice>
    );
  }
  return (
    <Notice icon="alert" title="This cannot be shown right now">
      <p>{detail}</p>
      {again}
    </Notice>
  );
}

interface Asked<Data> {
  data: Data | undefined;
  error: unknown;
  isPending: boolean;
  refetch: () => unknown;
}

/**
 * The data once it is there. An error hides it only when there is none: what was true a minute ago is better than nothing,
 * as long as it says how old it is.
 */
export function Shown<Data>({
  asked,
  skeleton,
  missing,
  children,
}: {
  asked: Asked<Data>;
  skeleton?: ReactNode;
  /** What a 404 means here. */
  missing?: string | undefined;
  children: (data: Data) => ReactNode;
}) {
  if (asked.data !== undefined && !forbidden(asked.error)) {
    return <>{children(asked.data)}</>;
  }
  return asked.isPending && !asked.error ? (
    <>{skeleton ?? <Skeleton />}</>
  ) : (
    <Trouble error={asked.error} missing={missing} retry={() => void asked.refetch()} />
  );
}

/** What may not be seen any more is not shown any more. */
const forbidden = (error: unknown): boolean =>
  error instanceof ApiProblem && (error.status === 401 || error.status === 403 || error.status === 404);

/** Of an answer that cannot be renewed: why, in two words. */
export const trouble = (asked: { error: unknown; failureCount: number }): string | undefined =>
  asked.error || asked.failureCount > 0 ? "no answer, retrying" : undefined;
