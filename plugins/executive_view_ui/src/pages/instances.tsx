import { useEffect, useRef, useState } from "react";
import { Link, useSearchParams } from "react-router-dom";

import type { BulkFilter } from "../api/bulks";
import { BASE } from "../api/client";
import { useFacets } from "../api/queries";
import { useInstanceWindow, type Range } from "../api/window";
import { count } from "../lib/format";
import { paths } from "../lib/paths";
import { changed, instanceQuery, savedViews, saveViews, VIEWS, written, type View } from "../lib/view";
import { health, instanceState, sentence, waits } from "../lib/words";
import { Icon } from "../ui/icons";
import { AsOf, Download, FilterMenu, Flag } from "../ui/parts";
import { Empty, Shown, Skeleton, trouble } from "../ui/states";
import { useMany } from "./many";
import { Rows } from "./rows";

const STATES = ["queued", "running", "success", "failed", "deleted"].map((id) => ({ id, title: instanceState(id).text }));
const HEALTHS = ["on_time", "at_risk", "late", "failed", "waiting", "no_due"].map((id) => ({ id, title: health(id).text }));
const WAITS = ["remote_job", "resource", "person", "calendar", "hold", "stream", "retry"].map((id) => ({
  id,
  title: sentence(waits(id).text),
}));

/** What is in sight before anything was scrolled. */
const TOP: Range = { first: 0, last: 30 };

/** The list that an operations lead lives in. */
export default function Instances() {
  const [params, setParams] = useSearchParams();
  const query = instanceQuery(params);
  const question = written(query);
  const [sight, setSight] = useState({ question, ...TOP });
  const asked = useInstanceWindow(query, sight.question === question ? sight : TOP);
  const { order: _order, ...filter } = query;
  const many = useMany(question, filter as BulkFilter, asked.data?.total);
  return (
    <main className="eo-page eo-fill">
      <header className="eo-head">
        <h1>Instances</h1>
        <Views current={question} />
        <span className="eo-grow" />
        {asked.data ? <AsOf at={asked.data.as_of} trouble={trouble(asked)} /> : null}
        <Download href={`${BASE}/api/v1/instances.csv?${written(filter)}`}>CSV</Download>
      </header>
      <Filters total={asked.data?.total} />
      {many.bar}
      <Shown asked={asked} skeleton={<Skeleton rows={12} />}>
        {(data) =>
          data.total === 0 ? (
            <NoRows clear={() => setParams({}, { replace: true })} filter={filter} />
          ) : (
            // Another question begins at the top.
            <Rows key={question} onRange={(range) => setSight({ question, ...range })} selection={many.selection} total={data.total} window={asked} />
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
  const active = [...params.keys()].some((name) => name !== "order" && name !== "bulk");
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
      <Flag name="parked" title="Parked" why="A person must say what became of a remote job" />
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
