import { useSearchParams } from "react-router-dom";

import { BASE } from "../api/client";
import { useFacets, useOrphans } from "../api/queries";
import type { Orphan } from "../api/schema";
import { paths } from "../lib/paths";
import { changed, eventQuery, written } from "../lib/view";
import { Link } from "react-router-dom";
import { At, Download, FilterMenu, Panel, Scroll, StackTag } from "../ui/parts";
import { EventList, kindLook } from "./events";

/** Who decided and did what, and the remote jobs that nobody waits for. */
export default function Audit() {
  const [params, setParams] = useSearchParams();
  const query = eventQuery(params);
  const facets = useFacets();
  const orphans = useOrphans();
  const search = written(query);
  return (
    <main className="eo-page">
      <header className="eo-head">
        <h1>Audit</h1>
        <div className="eo-filters">
          <input
            aria-label="Business key"
            className="eo-input"
            defaultValue={params.get("q") ?? ""}
            key={params.get("q")}
            onKeyDown={(event) => {
              if (event.key === "Enter") {
                setParams((now) => changed(now, { q: event.currentTarget.value.trim() }), { replace: true });
              }
            }}
            placeholder="Business key, then Enter"
            type="search"
          />
          <FilterMenu choices={facets.data?.streams ?? []} name="stream" title="Stream" />
          <FilterMenu choices={(facets.data?.kinds ?? []).map((id) => ({ id, title: kindLook(id).text }))} name="kind" title="Kind" />
          {search ? (
            <button className="eo-text" onClick={() => setParams({})} type="button">
              Clear
            </button>
          ) : null}
        </div>
        <span className="eo-grow" />
        <Download href={`${BASE}/api/v1/events.csv?${search}`}>CSV</Download>
        <Download href={`${BASE}/api/v1/events.jsonl?${search}`}>JSON Lines</Download>
      </header>
      {orphans.data && orphans.data.items.length > 0 ? <Orphans items={orphans.data.items} total={orphans.data.total} /> : null}
      <EventList fixed={query} />
    </main>
  );
}

function Orphans({ items, total }: { items: readonly Orphan[]; total: number }) {
  return (
    <Panel className="eo-alarm" note={`${total} on other systems`} title="Jobs that nobody waits for">
      <Scroll name="Jobs that nobody waits for">
        <table className="eo-table">
          <thead>
            <tr>
              <th>Job</th>
              <th>System</th>
              <th>Instance</th>
              <th>Step</th>
              <th>Handed over</th>
              <th>Why</th>
            </tr>
          </thead>
          <tbody>
            {items.map((orphan) => (
              <tr key={`${orphan.dag_id}/${orphan.run_id}/${orphan.step.id}/${orphan.map_index}/${orphan.attempt}`}>
                <td>
                  <b>{orphan.job_id ?? "not known"}</b> <span className="eo-quiet">{orphan.job_name}</span>
                </td>
                <td title={orphan.system}>
                  <StackTag stack={orphan.step.stack} />
                </td>
                <td className="eo-two">
                  <Link to={paths.instance(orphan.dag_id, orphan.run_id)}>{orphan.key}</Link>
                  <small>{orphan.stream}</small>
                </td>
                <td>
                  <Link to={paths.instance(orphan.dag_id, orphan.run_id, { step: orphan.step.id })}>{orphan.step.title}</Link>
                </td>
                <td>
                  <At value={orphan.opened} />
                </td>
                <td>{orphan.why}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </Panel>
  );
}
