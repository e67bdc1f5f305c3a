import { lazy, Suspense, useState } from "react";

import { scopeOf, useHolds } from "../api/holds";
import { useMe } from "../api/queries";
import type { Hold } from "../api/schema";
import { count } from "../lib/format";
import { Icon } from "../ui/icons";
import { At, Panel, Scroll } from "../ui/parts";
import { trouble } from "../ui/states";

const HoldDialog = lazy(async () => ({ default: (await import("./hold_dialogs")).HoldDialog }));
const ReleaseDialog = lazy(async () => ({ default: (await import("./hold_dialogs")).ReleaseDialog }));

/** Leads to the dialog that holds many instances, for who may act on any. `stream` is the one that one looks at. */
export function HoldMany({ stream }: { stream?: string }) {
  const [open, setOpen] = useState(false);
  const me = useMe();
  const may = me.data?.streams.some(({ dag_id: id, may_act: act }) => act && (stream === undefined || id === stream)) ?? false;
  return may ? (
    <>
      <button aria-haspopup="dialog" className="eo-button" onClick={() => setOpen(true)} type="button">
        <Icon name="pause" />
        Hold …
      </button>
      {open ? (
        <Suspense fallback={null}>
          <HoldDialog close={() => setOpen(false)} stream={stream} />
        </Suspense>
      ) : null}
    </>
  ) : null;
}

/**
 * What is held together now; nothing where nothing is. A failure to find out is told: nobody must take it for none.
 *
 * `fits` picks those that one looks at.
 */
export function HoldList({ fits = () => true }: { fits?: (hold: Hold) => boolean }) {
  const [chosen, setChosen] = useState<Hold | undefined>();
  const asked = useHolds();
  const items = (asked.data?.items ?? []).filter(fits);
  if (asked.error && !asked.data) {
    return (
      <p className="eo-note" data-tone="risk">
        <Icon name="alert" /> What is held cannot be told right now: {asked.error instanceof Error ? asked.error.message : String(asked.error)}
      </p>
    );
  }
  if (items.length === 0) {
    return null;
  }
  return (
    <>
      <Panel className="eo-held" note={trouble(asked) ?? "nothing of it begins before it is released"} title="Held now">
        <Scroll name="What is held">
          <table className="eo-table">
            <thead>
              <tr>
                <th>What</th>
                <th className="eo-number">Steps that wait</th>
                <th>Since</th>
                <th>Until</th>
                <th>By</th>
                <th>Why</th>
                <th>
                  <span className="eo-hidden">Release</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {items.map((hold) => (
                <tr key={hold.id}>
                  <td className="eo-two">
                    <b>{hold.title}</b>
                    <small>{scopeOf(hold.scope)}</small>
                  </td>
                  <td className="eo-number">{count(hold.held_steps)}</td>
                  <td>
                    <At value={hold.at} />
                  </td>
                  <td>{hold.until ? <At value={hold.until} /> : <span className="eo-quiet">somebody releases it</span>}</td>
                  <td>{hold.by}</td>
                  <td>{hold.reason}</td>
                  <td className="eo-number">
                    {hold.may_release ? (
                      <button aria-haspopup="dialog" aria-label={`Release ${hold.title}`} className="eo-button" onClick={() => setChosen(hold)} type="button">
                        <Icon name="play" />
                        Release
                      </button>
                    ) : null}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      </Panel>
      {chosen ? (
        <Suspense fallback={null}>
          <ReleaseDialog close={() => setChosen(undefined)} hold={chosen} />
        </Suspense>
      ) : null}
    </>
  );
}
