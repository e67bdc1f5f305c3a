import type { ReactNode } from "react";
import { Link, useNavigate, useSearchParams } from "react-router-dom";

import { useFacets, useOverview } from "../api/queries";
import type { Overview as OverviewData, StackLight, StreamLine } from "../api/schema";
import { count, delta, duration, percent } from "../lib/format";
import { paths } from "../lib/paths";
import { changed, overviewQuery } from "../lib/view";
import { level, sentence, type Tone } from "../lib/words";
import { Lateness, Spark, Trend } from "../ui/charts";
import { Icon } from "../ui/icons";
import { Action, AsOf, At, Expected, FilterMenu, Panel, Scroll } from "../ui/parts";
import { Empty, Shown, Skeleton, trouble } from "../ui/states";
import { HoldList, HoldMany } from "./holds";

/** What an executive reads in five seconds, and where an operations lead begins. */
export function Overview() {
  const [params, setParams] = useSearchParams();
  const query = overviewQuery(params);
  const asked = useOverview(query);
  const facets = useFacets();
  const filtered = Object.keys(query).length > 0;
  return (
    <main className="eo-page">
      <header className="eo-head">
        <h1>Overview</h1>
        <div className="eo-filters">
          <FilterMenu choices={facets.data?.domains ?? []} name="domain" title="Domain" />
          <FilterMenu choices={facets.data?.owners ?? []} name="owner" title="Owner" />
          <FilterMenu
            choices={(facets.data?.criticalities ?? []).map(({ id, title }) => ({ id, title: sentence(title) }))}
            name="criticality"
            title="Criticality"
          />
          {filtered ? (
            <button
              className="eo-text"
              onClick={() => setParams((now) => changed(now, { domain: null, owner: null, criticality: null, stream: null }))}
              type="button"
            >
              Show all
            </button>
          ) : null}
        </div>
        <span className="eo-grow" />
        {asked.data ? <AsOf at={asked.data.fed_at ?? asked.data.as_of} trouble={trouble(asked) ?? (asked.data.stale ? "older than it should be" : undefined)} /> : null}
        <HoldMany />
        <Action icon="print" to={paths.print(query)}>
          Print
        </Action>
      </header>
      <Shown asked={asked} skeleton={<Skeleton rows={8} tiles={5} />}>
        {(data) => (data.streams.length === 0 ? <Nothing filtered={filtered} /> : <Whole data={data} query={query} />)}
      </Shown>
    </main>
  );
}

function Nothing({ filtered }: { filtered: boolean }) {
  return filtered ? (
    <Empty title="No stream is like that">The filter above hides every stream that you may see.</Empty>
  ) : (
    <Empty title="There is no stream yet">
      A stream appears here as soon as its template is read. Streams that you may not see in Airflow are not shown.
    </Empty>
  );
}

function Whole({ data, query }: { data: OverviewData; query: object }) {
  return (
    <>
      <Sentence data={data} />
      <Tiles data={data} query={query} />
      <HoldList fits={({ scope, name }) => scope !== "stream" || data.streams.some(({ dag_id: id }) => id === name)} />
      <Panel note={`${count(data.streams.length)}, the worst first`} title="Streams">
        <StreamTable streams={data.streams} />
      </Panel>
      <div className="eo-columns">
        <Panel note="last 30 days" title="On time">
          <Trend days={data.trend} />
        </Panel>
        <Panel note="last 30 days" title="Where time was lost">
          <Lateness stacks={data.lateness_by_stack} />
        </Panel>
      </div>
    </>
  );
}

export function Sentence({ data }: { data: OverviewData }) {
  const look = level(data.level);
  return (
    <p className="eo-sentence" data-tone={look.tone}>
      <span className="eo-sentence-icon">
        <Icon name={look.icon} size={20} />
      </span>
      <span className="eo-hidden">{look.text}: </span>
      {data.sentence}
    </p>
  );
}

/** The five numbers. Each leads to the instances that it counts. */
export function Tiles({ data, query }: { data: OverviewData; query: object }) {
  const { counts, on_time_share: now, on_time_share_before: before } = data;
  const points = now === null || before === null ? null : (now - before) * 100;
  return (
    <ul className="eo-tiles">
      <Tile
        note={
          points === null ? (
            "last 7 days"
          ) : (
            <span className="eo-delta" data-tone={points < 0 ? "late" : "ok"}>
              {`${points < 0 ? "▼" : "▲"} ${Math.abs(points).toFixed(1)} points against the week before`}
            </span>
          )
        }
        title="On time"
        tone={now === null ? "idle" : now >= 0.95 ? "ok" : now >= 0.9 ? "risk" : "late"}
        value={percent(now)}
      >
        <Spark values={data.trend.map(({ on_time_share: share }) => share)} />
      </Tile>
      <Tile note={counts.failed > 0 ? `${count(counts.failed)} failed` : "none failed"} title="Live" to={paths.instances({ ...query, live: true })} tone="live" value={count(counts.live)} />
      <Tile note="may miss the due time" title="At risk" to={paths.instances({ ...query, live: true, health: ["at_risk"] })} tone="risk" value={count(counts.at_risk)} />
      <Tile
        note={
          data.unacknowledged > 0
            ? `${count(data.unacknowledged)} late or failed, not acknowledged, oldest ${duration(data.oldest_unacknowledged_seconds)}`
            : "all acknowledged"
        }
        title="Late"
        to={paths.instances({ ...query, live: true, health: ["late"] })}
        tone="late"
        value={count(counts.late)}
      />
      <Tile
        note={counts.parked > 0 ? `${count(counts.parked)} parked` : "none parked"}
        noteTo={counts.parked > 0 ? paths.instances({ ...query, live: true, parked: true }) : undefined}
        title="Waiting for people"
        to={paths.instances({ ...query, live: true, waiting_people: true })}
        tone="wait"
        value={count(counts.waiting_people)}
      />
    </ul>
  );
}

interface TileProps {
  title: string;
  value: string;
  note: ReactNode;
  tone: Tone;
  to?: string;
  /** Where the note leads, when that is elsewhere. */
  noteTo?: string | undefined;
  children?: ReactNode;
}

function Tile({ title, value, note, tone, to, noteTo, children }: TileProps) {
  const said = (
    <>
      <span className="eo-tile-title">{title}</span>
      <span className="eo-tile-value">{value}</span>
    </>
  );
  return (
    <li className="eo-tile" data-tone={value === "0" ? "idle" : tone}>
      {to ? <Link to={to}>{said}</Link> : <div>{said}</div>}
      <span className="eo-tile-note">{noteTo ? <Link to={noteTo}>{note}</Link> : note}</span>
      {children}
    </li>
  );
}

export function StreamTable({ streams, plain }: { streams: readonly StreamLine[]; plain?: boolean }) {
  const navigate = useNavigate();
  return (
    <Scroll name="All streams">
      <table className="eo-table">
        <thead>
          <tr>
            <th>Stream</th>
            <th>Where its instances are now</th>
            <th className="eo-number">Live</th>
            <th className="eo-number">At risk</th>
            <th className="eo-number">Late</th>
            <th className="eo-number">Failed</th>
            <th>Due next</th>
            <th>Expected</th>
            <th className="eo-number" title="Of what ended in the last 7 days">
              On time
            </th>
          </tr>
        </thead>
        <tbody>
          {streams.map((stream) => {
            const look = level(stream.level);
            return (
              <tr
                className={plain ? undefined : "eo-click"}
                key={stream.dag_id}
                onClick={
                  plain
                    ? undefined
                    : (event) => {
                        if (!(event.target as HTMLElement).closest("a")) {
                          void navigate(paths.instances({ stream: stream.dag_id, live: true }));
                        }
                      }
                }
              >
                <td>
                  <span className="eo-stream" data-tone={look.tone}>
                    <span className="eo-lamp" title={look.text}>
                      <Icon name={look.icon} />
                      <span className="eo-hidden">{look.text}</span>
                    </span>
                    <span>
                      {plain ? <b>{stream.title}</b> : <Link to={paths.stream(stream.dag_id)}>{stream.title}</Link>}
                      <small>{[stream.domain, stream.owner].filter(Boolean).join(" · ")}</small>
                    </span>
                  </span>
                </td>
                <td>
                  <Lights dagId={stream.dag_id} plain={plain} stacks={stream.stacks} />
                </td>
                <Number value={stream.counts.live} />
                <Number tone="risk" value={stream.counts.at_risk} />
                <Number tone="late" value={stream.counts.late} />
                <Number tone="failed" value={stream.counts.failed} />
                <td>
                  <At value={stream.due_at} />
                </td>
                <td>
                  {stream.late_seconds !== null && !stream.forecast?.p50 ? (
                    <span className="eo-delta" data-tone="late">
                      {delta(stream.late_seconds)}
                    </span>
                  ) : (
                    <Expected due={stream.due_at} forecast={stream.forecast} />
                  )}
                </td>
                <td className="eo-number">{percent(stream.on_time_share)}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </Scroll>
  );
}

function Number({ value, tone }: { value: number; tone?: Tone }) {
  return (
    <td className="eo-number" data-tone={value > 0 ? tone : undefined}>
      {value === 0 ? <span className="eo-quiet">0</span> : count(value)}
    </td>
  );
}

/** A traffic light for each kind of system: its word and its number say it as well. */
function Lights({ dagId, stacks, plain }: { dagId: string; stacks: readonly StackLight[]; plain?: boolean | undefined }) {
  return (
    <span className="eo-lights">
      {stacks.map((light) => {
        const look = level(light.level);
        const trouble = light.late + light.failed || light.at_risk || light.waiting_people;
        const said = [
          look.text.toLowerCase(),
          light.live ? `${light.live} live` : "",
          light.late ? `${light.late} late` : "",
          light.failed ? `${light.failed} failed` : "",
          light.at_risk ? `${light.at_risk} at risk` : "",
          light.waiting_people ? `${light.waiting_people} waiting for people` : "",
        ]
          .filter(Boolean)
          .join(", ");
        const inside = (
          <>
            <Icon name={look.icon} size={12} />
            <span>
              {light.stack.title}
              {trouble > 0 ? <b> {count(trouble)}</b> : null}
              <span className="eo-hidden">: {said}</span>
            </span>
          </>
        );
        return plain || light.live === 0 ? (
          <span className="eo-light" data-tone={look.tone} key={light.stack.id} title={said}>
            {inside}
          </span>
        ) : (
          <Link
            className="eo-light"
            data-tone={look.tone}
            key={light.stack.id}
            title={said}
            to={paths.instances({ stream: dagId, stack: light.stack.id, live: true })}
          >
            {inside}
          </Link>
        );
      })}
    </span>
  );
}
