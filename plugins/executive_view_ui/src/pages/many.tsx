import { lazy, Suspense, useState } from "react";
import { useSearchParams } from "react-router-dom";

import { useRenew, type Action } from "../api/actions";
import { useBulks, type BulkFilter } from "../api/bulks";
import { useMe } from "../api/queries";
import type { InstanceRow } from "../api/schema";
import { actionLook, ACTIONS } from "../lib/acting";
import { count } from "../lib/format";
import { changed } from "../lib/view";
import { Icon } from "../ui/icons";
import type { Selection } from "./rows";

const BulkDialog = lazy(() => import("./bulk"));
const BulkProgress = lazy(() => import("./progress"));

const OFFERED: readonly Action[] = ["acknowledge", "hold", "release", "retry", "cancel"];
/** As many as one request may name. */
const MOST = 500;

export interface Many {
  /** None for who may act on nothing. */
  selection: Selection | undefined;
  /** What can be done with those that are selected, and how far what is under way is. */
  bar: React.ReactNode;
}

/**
 * Acting on many instances of the list.
 *
 * @param question What the list shows, as a text: another one begins with nothing selected.
 */
export function useMany(question: string, filter: BulkFilter, total: number | undefined): Many {
  const [params, setParams] = useSearchParams();
  const [picked, setPicked] = useState<{ question: string; rows: ReadonlyMap<number, InstanceRow> }>({ question, rows: new Map() });
  const [action, setAction] = useState<Action | undefined>();
  const me = useMe();
  const actable = new Set((me.data?.streams ?? []).filter(({ may_act: may }) => may).map(({ dag_id: id }) => id));
  const rows = picked.question === question ? picked.rows : new Map<number, InstanceRow>();
  const bulk = params.get("bulk");
  const renew = useRenew();
  const watch = (id: string | null) => setParams((now) => changed(now, { bulk: id }), { replace: true });
  const toggle = (row: InstanceRow) => {
    const next = new Map(rows);
    if (!next.delete(row.id) && next.size < MOST) {
      next.set(row.id, row);
    }
    setPicked({ question, rows: next });
  };
  const selection: Selection | undefined =
    actable.size === 0
      ? undefined
      : {
          may: (row) => actable.has(row.dag_id),
          has: (row) => rows.has(row.id),
          toggle,
          key: (letter) => {
            const found = OFFERED.find((name) => ACTIONS[name].key === letter);
            if (found === undefined || rows.size === 0) {
              return false;
            }
            setAction(found);
            return true;
          },
        };
  return {
    selection,
    bar: (
      <>
        {selection && total ? (
          <Bar clear={() => setPicked({ question, rows: new Map() })} many={rows.size} open={setAction} total={total} watch={watch} />
        ) : null}
        <Suspense fallback={null}>
          {action && total !== undefined ? (
            <BulkDialog
              action={action}
              begun={({ id }) => {
                setAction(undefined);
                setPicked({ question, rows: new Map() });
                watch(id);
              }}
              close={() => setAction(undefined)}
              filter={filter}
              rows={[...rows.values()]}
              total={total}
            />
          ) : null}
          {bulk ? (
            <BulkProgress
              close={() => {
                // The rows behind are from before.
                renew();
                watch(null);
              }}
              id={bulk}
            />
          ) : null}
        </Suspense>
      </>
    ),
  };
}

function Bar({ many, total, open, clear, watch }: { many: number; total: number; open: (action: Action) => void; clear: () => void; watch: (id: string) => void }) {
  const under = useBulks(true);
  return (
    <div aria-label="Act on many" className="eo-many" role="group">
      {many > 0 ? (
        <>
          <b aria-live="polite">{count(many)} selected</b>
          {OFFERED.map((action) => {
            const { icon, verb, key, grave } = ACTIONS[action];
            return (
              <button aria-haspopup="dialog" className="eo-button" data-grave={grave ? "" : undefined} key={action} onClick={() => open(action)} type="button">
                <Icon name={icon} />
                {verb} {key ? <kbd aria-hidden>{key}</kbd> : null}
              </button>
            );
          })}
          <button className="eo-text" onClick={clear} type="button">
            Select none
          </button>
        </>
      ) : (
        <button aria-haspopup="dialog" className="eo-button" onClick={() => open("hold")} type="button">
          <Icon name="more" />
          Act on all {count(total)} …
        </button>
      )}
      {(under.data?.items ?? [])
        .filter(({ state }) => state === "running")
        .map(({ id, action, by, done, refused, failed, total: all }) => (
          <button aria-haspopup="dialog" className="eo-text" key={id} onClick={() => watch(id)} type="button">
            {actionLook(action).verb} by {by}: {count(done + refused + failed)} of {count(all)}
          </button>
        ))}
    </div>
  );
}
