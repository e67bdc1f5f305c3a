import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useMemo, useRef, useState } from "react";
import { Link, useNavigate, useSearchParams } from "react-router-dom";

import { BASE } from "../api/client";
import { LIVE_PAGES, useFacets, useInstances } from "../api/queries";
import type { InstanceRow } from "../api/schema";
import { count, delta } from "../lib/format";
import { paths } from "../lib/paths";
import { changed, instanceQuery, savedViews, saveViews, VIEWS, written, type View } from "../lib/view";
import { health, instanceState, sentence, waits } from "../lib/words";
import { Icon } from "../ui/icons";
import { AsOf, At, Badge, Download, Expected, FilterMenu, Seen } from "../ui/parts";
import { Empty, Shown, Skeleton, trouble } from "../ui/states";

const ROW = 46;
const STATES = ["queued", "running", "success", "failed", "deleted"].map((id) => ({ id, title: instanceState(id).text }));
const HEALTHS = ["on_time", "at_risk", "late", "failed", "waiting", "no_due"].map((id) => ({ id, title: health(id).text }));
const WAITS = ["remote_job", "resource", "person", "calendar", "hold", "stream", "retry"].map((id) => ({
  id,
  title: sentence(waits(id).text),
}));

/** The list that an operations lead lives in. */
export default function Instances() {
  const [params, setParams] = useSearchParams();
  const query = instanceQuery(params);
  const asked = useInstances(query);
  const pages = asked.data?.pages;
  const rows = useMemo(() => {
    // A row whose place changed between two pages would be there twice.
    const seen = new Map((pages ?? []).flatMap((page) => page.items).map((row) => [row.id, row]));
    return [...seen.values()];
  }, [pages]);
  const first = pages?.[0];
  const { order: _order, ...filter } = query;
  return (
    <main className="eo-page eo-fill">
      <header className="eo-head">
        <h1>Instances</h1>
        <Views current={written(query)} />
        <span className="eo-grow" />
        {first ? <AsOf at={first.as_of} paused={(pages?.length ?? 0) > LIVE_PAGES} trouble={trouble(asked)} /> : null}
        <Download href={`${BASE}/api/v1/instances.csv?${written(filter)}`}>CSV</Download>
      </header>
      <Filters total={first?.total} />
      <Shown asked={asked} skeleton={<Skeleton rows={12} />}>
        {() =>
          rows.length === 0 ? (
            <NoRows clear={() => setParams({}, { replace: true })} filter={filter} />
          ) : (
            <Rows
              hasMore={asked.hasNextPage}
              loading={asked.isFetchingNextPage}
              more={() => void asked.fetchNextPage()}
              rows={rows}
              total={first?.total ?? rows.length}
            />
          )
        }
      </Shown>
    </main>
  );
}

function NoRows({ filter, clear }: { filter: object; clear: () => void }) {
  const names = Object.entries(filter).map(([name, value]) => `${sentence(name === "q" ? "key" : name).toLowerCase()} “${String(value)}”`);
  if (names.length === 0) {
    return <Empty title="No instance yet">The first one appears here when a stream starts.</Empty>;
  }
  return (
    <Empty title="No instance is like that">
      <p>Hidden by: {names.join(", ")}.</p>
      <button className="eo-button" onClick={clear} type="button">
        Show everything
      </button>
    </Empty>
  );
}

/** Named filters: everybody's, and the user's own. They are links, so they can be sent to somebody. */
function Views({ current }: { current: string }) {
  const [own, setOwn] = useState<View[]>(savedViews);
  const [naming, setNaming] = useState(false);
  const keep = (views: View[]) => {
    setOwn(views);
    saveViews(views);
  };
  const known = [...VIEWS, ...own].some((view) => view.search === current);
  return (
    <div className="eo-views">
      {[...VIEWS, ...own].map((view) => (
        <span key={`${view.name}?${view.search}`}>
          <Link aria-current={view.search === current ? "true" : undefined} to={`${paths.instances()}?${view.search}`}>
            {view.name}
          </Link>
          {own.includes(view) ? (
            <button aria-label={`Forget the view ${view.name}`} onClick={() => keep(own.filter((one) => one !== view))} type="button">
              <Icon name="cross" size={10} />
            </button>
          ) : null}
        </span>
      ))}
      {naming ? (
        <form
          onSubmit={(event) => {
            event.preventDefault();
            const name = String(new FormData(event.currentTarget).get("name") ?? "").trim();
            if (name) {
              keep([...own, { name, search: current }]);
            }
            setNaming(false);
          }}
        >
          <input aria-label="Name of the view" autoFocus className="eo-input" maxLength={40} name="name" onBlur={() => setNaming(false)} placeholder="Name, then Enter" />
        </form>
      ) : known || current === "" ? null : (
        <button className="eo-text" onClick={() => setNaming(true)} type="button">
          <Icon name="star" size={12} /> Save this view
        </button>
      )}
    </div>
  );
}

function Filters({ total }: { total: number | undefined }) {
  const [params, setParams] = useSearchParams();
  const facets = useFacets();
  const data = facets.data;
  const streams = params.getAll("stream");
  const steps = (data?.steps ?? [])
    .filter((step) => streams.length === 0 || streams.includes(step.dag_id))
    .filter((step, index, all) => all.findIndex(({ id }) => id === step.id) === index)
    .map(({ id, title }) => ({ id, title }));
  const active = [...params.keys()].some((name) => name !== "order");
  return (
    <div className="eo-filters">
      <KeySearch />
      <FilterMenu choices={(data?.streams ?? []).map(({ id, title }) => ({ id, title }))} name="stream" title="Stream" />
      <FilterMenu choices={HEALTHS} name="health" title="Health" />
      <FilterMenu choices={STATES} name="state" title="State" />
      <FilterMenu choices={data?.stacks ?? []} name="stack" title="System" />
      <FilterMenu choices={steps} name="step" title="Step" />
      <FilterMenu choices={WAITS} name="waits_for" title="Waits for" />
      <FilterMenu choices={data?.domains ?? []} name="domain" title="Domain" />
      <FilterMenu choices={data?.owners ?? []} name="owner" title="Owner" />
      <JobSearch />
      <label className="eo-order">
        <span className="eo-hidden">Order</span>
        <select
          className="eo-input"
          onChange={(event) => setParams((now) => changed(now, { order: event.target.value === "urgency" ? null : event.target.value }), { replace: true })}
          value={params.get("order") ?? "urgency"}
        >
          <option value="urgency">Most urgent first</option>
          <option value="newest">Newest first</option>
          <option value="oldest">Oldest first</option>
          <option value="changed">Latest change first</option>
        </select>
      </label>
      {active ? (
        <button className="eo-text" onClick={() => setParams({})} type="button">
          Clear
        </button>
      ) : null}
      <span className="eo-grow" />
      <span aria-live="polite" className="eo-total">
        {total === undefined ? null : (
          <>
            <b>{count(total)}</b> {total === 1 ? "instance" : "instances"}
          </>
        )}
      </span>
    </div>
  );
}

/** Asks while one types, but not for every letter. */
function useTyped(name: string): [string, (value: string) => void] {
  const [params, setParams] = useSearchParams();
  const inAddress = params.get(name) ?? "";
  const [value, setValue] = useState(inAddress);
  const written = useRef(inAddress);
  useEffect(() => {
    if (inAddress !== written.current) {
      written.current = inAddress;
      setValue(inAddress);
    }
  }, [inAddress]);
  useEffect(() => {
    if (value.trim() === written.current) {
      return undefined;
    }
    const timer = setTimeout(() => {
      written.current = value.trim();
      setParams((now) => changed(now, { [name]: value.trim() }), { replace: true });
    }, 250);
    return () => clearTimeout(timer);
  }, [name, setParams, value]);
  return [value, setValue];
}

function KeySearch() {
  const [params, setParams] = useSearchParams();
  const [value, setValue] = useTyped("q");
  return (
    <span className="eo-joined">
      <input aria-label="Business key" className="eo-input" onChange={(event) => setValue(event.target.value)} placeholder="Business key" type="search" value={value} />
      <select
        aria-label="How the key is found"
        className="eo-input"
        onChange={(event) => setParams((now) => changed(now, { match: event.target.value === "prefix" ? null : event.target.value }), { replace: true })}
        value={params.get("match") ?? "prefix"}
      >
        <option value="prefix">begins with</option>
        <option value="contains">contains</option>
      </select>
    </span>
  );
}

function JobSearch() {
  const [value, setValue] = useTyped("job");
  return <input aria-label="Remote job id" className="eo-input eo-short" onChange={(event) => setValue(event.target.value)} placeholder="Remote job" type="search" value={value} />;
}

interface RowsProps {
  rows: readonly InstanceRow[];
  total: number;
  hasMore: boolean;
  loading: boolean;
  more: () => void;
}

const COLUMNS = ["Health", "Instance", "Is at", "Waits for", "Due", "Expected", "Late", "Owner", "Acknowledged"];

/** As many rows as are in sight exist; the next page is asked for before its rows are reached. */
function Rows({ rows, total, hasMore, loading, more }: RowsProps) {
  const room = useRef<HTMLDivElement>(null);
  const [at, setAt] = useState(0);
  const navigate = useNavigate();
  const virtual = useVirtualizer({ count: rows.length, estimateSize: () => ROW, getScrollElement: () => room.current, overscan: 12 });
  const items = virtual.getVirtualItems();
  const lastShown = items.at(-1)?.index ?? 0;

  useEffect(() => {
    if (hasMore && !loading && lastShown > rows.length - 80) {
      more();
    }
  }, [hasMore, lastShown, loading, more, rows.length]);

  const go = (index: number) => {
    const next = Math.max(0, Math.min(rows.length - 1, index));
    setAt(next);
    virtual.scrollToIndex(next);
  };
  const onKeyDown = (event: React.KeyboardEvent) => {
    const steps: Record<string, number> = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1, PageDown: 12, PageUp: -12 };
    const by = steps[event.key];
    const row = rows[at];
    if (by !== undefined) {
      event.preventDefault();
      go(at + by);
    } else if (event.key === "Home" || event.key === "End") {
      event.preventDefault();
      go(event.key === "Home" ? 0 : rows.length - 1);
    } else if (event.key === "Enter" && row && event.target === event.currentTarget) {
      void navigate(paths.instance(row.dag_id, row.run_id));
    }
  };
  const active = rows[at];
  return (
    <div
      aria-activedescendant={active ? `eo-row-${active.id}` : undefined}
      aria-colcount={COLUMNS.length}
      aria-label="Instances"
      aria-rowcount={total + 1}
      className="eo-grid"
      onKeyDown={onKeyDown}
      ref={room}
      role="grid"
      tabIndex={0}
    >
      <div className="eo-grid-head" role="rowgroup">
        <div aria-rowindex={1} className="eo-grid-row" role="row">
          {COLUMNS.map((title) => (
            <span key={title} role="columnheader">
              {title}
            </span>
          ))}
        </div>
      </div>
      <div role="rowgroup" style={{ height: virtual.getTotalSize(), position: "relative" }}>
        {items.map((item) => {
          const row = rows[item.index];
          return row ? (
            <Row
              active={item.index === at}
              index={item.index}
              key={row.id}
              open={() => void navigate(paths.instance(row.dag_id, row.run_id))}
              row={row}
              start={item.start}
            />
          ) : null;
        })}
      </div>
      {loading ? (
        <div className="eo-more" role="status">
          Loading more …
        </div>
      ) : null}
    </div>
  );
}

interface RowProps {
  row: InstanceRow;
  index: number;
  start: number;
  active: boolean;
  open: () => void;
}

function Row({ row, index, start, active, open }: RowProps) {
  const waiting = waits(row.parked ? "person" : row.waits_for);
  return (
    <div
      aria-rowindex={index + 2}
      aria-selected={active}
      className="eo-grid-row eo-click"
      data-tone={health(row.health).tone}
      id={`eo-row-${row.id}`}
      onClick={(event) => {
        if (!(event.target as HTMLElement).closest("a")) {
          open();
        }
      }}
      role="row"
      style={{ transform: `translateY(${start}px)`, height: ROW }}
    >
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
      <span role="gridcell">{row.live ? <Expected due={row.due_at} forecast={row.forecast} /> : <At value={row.ended_at} />}</span>
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
