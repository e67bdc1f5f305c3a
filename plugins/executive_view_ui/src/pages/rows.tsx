import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useRef, useState } from "react";
import { Link, useNavigate } from "react-router-dom";

import type { InstanceRow } from "../api/schema";
import type { Range, Window } from "../api/window";
import { delta } from "../lib/format";
import { paths } from "../lib/paths";
import { endless, health, instanceState, waits } from "../lib/words";
import { Icon } from "../ui/icons";
import { At, Badge, Expected, Seen } from "../ui/parts";

const ROW = 46;
const COLUMNS = ["Health", "Instance", "Is at", "Waits for", "Due", "Expected", "Late", "Owner", "Acknowledged"];

/** Which instances are selected, for who may act on them. */
export interface Selection {
  may: (row: InstanceRow) => boolean;
  has: (row: InstanceRow) => boolean;
  toggle: (row: InstanceRow) => void;
  /** What a letter does with those that are selected; whether it did anything. */
  key: (letter: string) => boolean;
}

interface Props {
  window: Window;
  total: number;
  onRange: (range: Range) => void;
  /** None: nothing can be selected. */
  selection: Selection | undefined;
}

/**
 * All instances that fit, as high as they are: the scrollbar tells where one is and leads anywhere. As many rows as are in
 * sight exist; those that are not there yet are grey.
 */
export function Rows({ window: list, total, onRange, selection }: Props) {
  const room = useRef<HTMLDivElement>(null);
  // The row that the keys act on. It is remembered by what it is: when the list changes it goes with its instance.
  const [at, setAt] = useState<{ index: number; id: number | undefined }>({ index: 0, id: undefined });
  const navigate = useNavigate();
  const virtual = useVirtualizer({ count: list.count, estimateSize: () => ROW, getScrollElement: () => room.current, overscan: 8 });
  const items = virtual.getVirtualItems();
  const [first, last] = [items[0]?.index ?? 0, items.at(-1)?.index ?? 0];
  const report = useRef(onRange);
  report.current = onRange;
  useEffect(() => {
    report.current({ first, last });
  }, [first, last]);

  const here = (at.id === undefined ? undefined : list.indexOf(at.id)) ?? Math.min(at.index, list.count - 1);
  const active = list.row(here);
  const id = active?.id ?? at.id;
  useEffect(() => {
    if (here !== at.index || id !== at.id) {
      setAt({ index: here, id });
    }
  }, [at, here, id]);

  const go = (index: number) => {
    const next = Math.max(0, Math.min(list.count - 1, index));
    setAt({ index: next, id: list.row(next)?.id });
    virtual.scrollToIndex(next);
  };
  const onKeyDown = (event: React.KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target !== event.currentTarget) {
      return;
    }
    const page = Math.max(1, Math.floor((room.current?.clientHeight ?? 0) / ROW) - 2);
    const steps: Record<string, number> = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    const by = steps[event.key];
    if (by !== undefined) {
      event.preventDefault();
      go(here + by);
    } else if (event.key === "Enter" && active) {
      void navigate(paths.instance(active.dag_id, active.run_id));
    } else if ((event.key === "x" || event.key === " ") && active && selection?.may(active)) {
      event.preventDefault();
      selection.toggle(active);
    } else if (selection?.key(event.key)) {
      event.preventDefault();
    }
  };
  return (
    <div
      aria-activedescendant={active ? `eo-row-${active.id}` : undefined}
      aria-colcount={COLUMNS.length + (selection ? 1 : 0)}
      aria-label="Instances"
      aria-multiselectable={selection ? true : undefined}
      aria-rowcount={total + 1}
      className="eo-grid"
      data-select={selection ? "" : undefined}
      onKeyDown={onKeyDown}
      ref={room}
      role="grid"
      tabIndex={0}
    >
      <div className="eo-grid-head" role="rowgroup">
        <div aria-rowindex={1} className="eo-grid-row" role="row">
          {selection ? (
            <span role="columnheader">
              <span className="eo-hidden">Selected</span>
            </span>
          ) : null}
          {COLUMNS.map((title) => (
            <span key={title} role="columnheader">
              {title}
            </span>
          ))}
        </div>
      </div>
      <div className="eo-grid-body" role="rowgroup" style={{ height: virtual.getTotalSize() }}>
        {items.map((item) => {
          const row = list.row(item.index);
          return row ? (
            <Row
              active={item.index === here}
              index={item.index}
              key={row.id}
              open={() => void navigate(paths.instance(row.dag_id, row.run_id))}
              row={row}
              selection={selection}
              start={item.start}
            />
          ) : (
            <div aria-busy aria-rowindex={item.index + 2} className="eo-grid-row eo-grid-blank" key={`blank-${item.index}`} role="row" style={{ transform: `translateY(${item.start}px)`, height: ROW }}>
              <span role="gridcell">
                <span className="eo-hidden">Row {item.index + 1} is being loaded</span>
              </span>
            </div>
          );
        })}
      </div>
    </div>
  );
}

interface RowProps {
  row: InstanceRow;
  index: number;
  start: number;
  active: boolean;
  selection: Selection | undefined;
  open: () => void;
}

function Row({ row, index, start, active, selection, open }: RowProps) {
  const selected = selection?.has(row) ?? false;
  const waiting = waits(row.parked ? "person" : row.waits_for);
  return (
    <div
      aria-rowindex={index + 2}
      aria-selected={selection ? selected : active}
      className="eo-grid-row eo-click"
      data-active={active ? "" : undefined}
      data-selected={selected ? "" : undefined}
      data-tone={health(row.health).tone}
      id={`eo-row-${row.id}`}
      onClick={(event) => {
        if (!(event.target as HTMLElement).closest("a, label")) {
          open();
        }
      }}
      role="row"
      style={{ transform: `translateY(${start}px)`, height: ROW }}
    >
      {selection ? (
        <span role="gridcell">
          {selection.may(row) ? (
            <label className="eo-pick">
              <input aria-label={`Select ${row.key}`} checked={selected} onChange={() => selection.toggle(row)} tabIndex={-1} type="checkbox" />
            </label>
          ) : null}
        </span>
      ) : null}
      <span role="gridcell">
        <Badge look={row.live || row.health !== "on_time" ? health(row.health) : instanceState(row.state)} />
      </span>
      <span className="eo-two" role="gridcell">
        <Link tabIndex={-1} to={paths.instance(row.dag_id, row.run_id)}>
          {row.key}
        </Link>
        <small>{row.stream}</small>
      </span>
      <span className="eo-two" role="gridcell">
        {row.step ? (
          <>
            <span>{row.step.title}</span>
            <small>{row.step.stack.title}</small>
          </>
        ) : (
          <span className="eo-quiet">{row.live ? "–" : instanceState(row.state).text}</span>
        )}
      </span>
      <span role="gridcell">
        {waiting.text ? (
          <span className="eo-mark" data-tone={waiting.tone}>
            <Icon name={waiting.icon} />
            {row.parked ? "an answer" : waiting.text}
          </span>
        ) : (
          <span className="eo-quiet">–</span>
        )}
      </span>
      <span role="gridcell">
        <At value={row.due_at} />
      </span>
      <span role="gridcell">{row.live ? <Expected atLeast={endless(row)} due={row.due_at} forecast={row.forecast} /> : <At value={row.ended_at} />}</span>
      <span data-tone={row.late_seconds ? "late" : undefined} role="gridcell">
        {row.late_seconds === null ? <span className="eo-quiet">–</span> : <b>{delta(row.late_seconds)}</b>}
      </span>
      <span role="gridcell">{row.owner}</span>
      <span role="gridcell">
        <Seen acknowledged={row.acknowledged} />
      </span>
    </div>
  );
}
