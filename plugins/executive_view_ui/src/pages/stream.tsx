import { useState } from "react";
import { Link, useSearchParams } from "react-router-dom";

import { useComparison, useRunsAhead, useStatistics, useStream, useVersions } from "../api/queries";
import type { Change, Hold, Node, StreamDetail, StreamStatistics, Version } from "../api/schema";
import { count, day, duration, moment, percent } from "../lib/format";
import { paths } from "../lib/paths";
import { changed } from "../lib/view";
import { level, sentence, titled, told } from "../lib/words";
import { Trend } from "../ui/charts";
import { focusStep, Graph } from "../ui/graph";
import { Icon } from "../ui/icons";
import { Action, AsOf, At, Badge, Fact, Panel, Scroll, StackTag, Tabs } from "../ui/parts";
import { Empty, Shown, Skeleton, trouble } from "../ui/states";
import { HoldList, HoldMany } from "./holds";

/** One stream: what it does, how long that takes, what changed, and when it runs next. */
export default function Stream({ dagId, embedded = false }: { dagId: string; embedded?: boolean }) {
  const asked = useStream(dagId);
  return (
    <main className="eo-page">
      <Shown asked={asked} missing={embedded ? "This is no value stream" : "There is no such stream"} skeleton={<Skeleton rows={8} tiles={4} />}>
        {(data) => (
          <>
            <Head data={data} embedded={embedded} trouble={trouble(asked)} />
            <HoldList fits={(hold) => concerns(hold, data)} />
            <Tabs
              tabs={[
                { id: "choreography", title: "Choreography" },
                { id: "statistics", title: "Statistics" },
                { id: "versions", title: "Versions" },
                { id: "ahead", title: "Runs ahead" },
              ]}
            >
              {(tab) => {
                switch (tab) {
                  case "statistics":
                    return <Statistics dagId={dagId} />;
                  case "versions":
                    return <Versions dagId={dagId} />;
                  case "ahead":
                    return <Ahead dagId={dagId} />;
                  default:
                    return <Choreography data={data} />;
                }
              }}
            </Tabs>
          </>
        )}
      </Shown>
    </main>
  );
}

function Head({ data, embedded, trouble: why }: { data: StreamDetail; embedded: boolean; trouble: string | undefined }) {
  const stream = data.stream;
  return (
    <>
      <header className="eo-head">
        <div className="eo-name">
          {embedded ? null : (
            <nav aria-label="Where this is" className="eo-crumbs">
              <Link to={paths.overview()}>Streams</Link>
              <span className="eo-quiet">{stream.domain}</span>
            </nav>
          )}
          <h1>
            {stream.title}
            <Badge look={level(stream.level)} />
            {stream.paused ? <Badge look={{ tone: "wait", icon: "pause", text: "Paused" }} plain /> : null}
            {stream.removed ? <Badge look={{ tone: "idle", icon: "dash", text: "Template removed" }} plain /> : null}
          </h1>
          {stream.description ? <p className="eo-description">{stream.description}</p> : null}
        </div>
        <span className="eo-grow" />
        <AsOf at={data.as_of} trouble={why} />
        <Action icon="search" to={paths.instances({ stream: stream.dag_id, live: true })}>
          {count(stream.counts.live)} live
        </Action>
        <HoldMany stream={stream.dag_id} />
        {data.links.map((link) => (
          <a className="eo-button" href={new URL(link.href.replace(/^\//u, ""), document.baseURI).href} key={link.href}>
            {link.title}
            <Icon name="link" size={12} />
          </a>
        ))}
      </header>
      <dl className="eo-facts">
        <Fact name="Schedule">{data.schedule || "by hand or by another stream"}</Fact>
        <Fact name="Due">{data.due || "no due time"}</Fact>
        <Fact name="Next run">
          <At value={stream.next_run} />
        </Fact>
        <Fact name="Owner">{stream.owner || "–"}</Fact>
        <Fact name="Criticality">{sentence(stream.criticality)}</Fact>
        <Fact name="Version">{stream.version}</Fact>
      </dl>
    </>
  );
}

/** Whether a hold holds steps of a stream. */
const concerns = ({ scope, name }: Hold, { stream, graph }: StreamDetail): boolean =>
  scope === "stream" ? name === stream.dag_id : graph.nodes.some(({ system, connection }) => (scope === "system" ? system : connection) === name);

function Choreography({ data }: { data: StreamDetail }) {
  const [params, setParams] = useSearchParams();
  const chosen = params.get("step");
  const choose = (id: string | null) => setParams((now) => changed(now, { step: id }), { replace: true });
  const node = data.graph.nodes.find(({ id }) => id === chosen);
  const close = () => {
    choose(null);
    focusStep(chosen ?? "");
  };
  return (
    <>
      <div className="eo-split" data-open={node ? "" : undefined}>
        <Graph choose={choose} chosen={chosen} graph={data.graph} heat />
        {node ? <StepFacts close={close} dagId={data.stream.dag_id} node={node} /> : null}
      </div>
      <ToldFrom dagId={data.stream.dag_id} />
      {data.params.length > 0 ? (
        <Panel note={data.business_key ? <>business key <code>{data.business_key}</code></> : null} title="Started with">
          <Scroll name="What it is started with">
          <table className="eo-table">
            <thead>
              <tr>
                <th>Name</th>
                <th>Type</th>
                <th>Default</th>
                <th>Meaning</th>
              </tr>
            </thead>
            <tbody>
              {data.params.map((param) => (
                <tr key={param.name}>
                  <td>
                    {param.title || param.name}
                    {param.required ? <span className="eo-quiet"> · required</span> : null}
                  </td>
                  <td>{param.choices && param.choices.length > 0 ? param.choices.map(told).join(" | ") : param.type}</td>
                  <td>{told(param.default)}</td>
                  <td>{param.description}</td>
                </tr>
              ))}
            </tbody>
          </table>
          </Scroll>
        </Panel>
      ) : null}
    </>
  );
}

/** From which instances the heat of the steps and the shares of the ways are told. */
function ToldFrom({ dagId }: { dagId: string }) {
  const { data } = useStatistics(dagId, 30);
  if (!data) {
    return null;
  }
  return (
    <p className="eo-quiet">
      {data.instances === 0
        ? "No instance has ended in the last 30 days: there is nothing to tell shares of the time or of the ways from."
        : `Shares of the time and of the ways are told from ${toldFrom(data)}, of the last 30 days.`}
    </p>
  );
}

const toldFrom = ({ instances, looked_at: looked }: StreamStatistics): string =>
  looked < instances
    ? `the newest ${count(looked)} of ${count(instances)} instances that ended`
    : `${count(instances)} ${instances === 1 ? "instance" : "instances"} that ended`;

function StepFacts({ node, dagId, close }: { node: Node; dagId: string; close: () => void }) {
  return (
    <aside aria-label={node.title} className="eo-side">
      <header>
        <div>
          <h2>{node.title}</h2>
          <StackTag stack={node.stack} />
        </div>
        <button aria-label="Close" className="eo-button eo-square" onClick={close} type="button">
          <Icon name="cross" />
        </button>
      </header>
      <dl className="eo-facts eo-facts-small">
        <Fact name="Does">{node.kind}</Fact>
        <Fact name="Connection">{node.connection ?? "–"}</Fact>
        <Fact name="Part of the time">{percent(node.heat, 0)}</Fact>
      </dl>
      <Link className="eo-button" to={paths.instances({ stream: dagId, step: node.id, live: true })}>
        Instances that are here
      </Link>
    </aside>
  );
}

function Statistics({ dagId }: { dagId: string }) {
  const [days, setDays] = useState(30);
  const asked = useStatistics(dagId, days);
  return (
    <>
      <p className="eo-filters">
        <label>
          Over the last{" "}
          <select className="eo-input" onChange={(event) => setDays(globalThis.Number(event.target.value))} value={days}>
            {[7, 30, 90].map((choice) => (
              <option key={choice} value={choice}>
                {choice} days
              </option>
            ))}
          </select>
        </label>
      </p>
      <Shown asked={asked}>{(data) => (data.instances === 0 ? <Empty title="Nothing has ended in this time">Statistics are told from instances that have ended.</Empty> : <Numbers data={data} />)}</Shown>
    </>
  );
}

function Numbers({ data }: { data: StreamStatistics }) {
  const titles = new Map(data.steps.map(({ step }) => [step.id, step.title]));
  const longest = Math.max(1, ...data.steps.map((step) => step.p90_seconds ?? 0));
  return (
    <div className="eo-stacked">
      <ul className="eo-tiles">
        {(
          [
            ["Ended", count(data.instances), data.looked_at < data.instances ? `below, the newest ${count(data.looked_at)}` : "all looked at"],
            ["On time", percent(data.on_time_share), ""],
            ["Half take", duration(data.p50_seconds), "or less"],
            ["Nine of ten take", duration(data.p90_seconds), "or less"],
            ["Bottleneck", data.bottleneck?.title ?? "–", data.bottleneck?.stack.title ?? ""],
          ] as const
        ).map(([title, value, note]) => (
          <li className="eo-tile" data-tone="idle" key={title}>
            <div>
              <span className="eo-tile-title">{title}</span>
              <span className="eo-tile-value" data-long={value.length > 10 ? "" : undefined}>
                {value}
              </span>
            </div>
            <span className="eo-tile-note">{note}</span>
          </li>
        ))}
      </ul>
      <Panel note={`half of the instances, and nine of ten; ${toldFrom(data)}`} title="How long each step takes">
        <Scroll name="Steps">
        <table className="eo-table eo-steps">
          <thead>
            <tr>
              <th>Step</th>
              <th>System</th>
              <th>Time</th>
              <th className="eo-number">Half</th>
              <th className="eo-number">Nine of ten</th>
              <th className="eo-number">Waits for a slot</th>
              <th className="eo-number">Part of the time</th>
              <th className="eo-number">Failed</th>
              <th className="eo-number">Tried again</th>
            </tr>
          </thead>
          <tbody>
            {data.steps.map((step) => (
              <tr key={step.step.id}>
                <td>{step.step.title}</td>
                <td>
                  <StackTag stack={step.step.stack} />
                </td>
                <td className="eo-range">
                  <span aria-hidden>
                    <i style={{ inlineSize: `${((step.p90_seconds ?? 0) / longest) * 100}%` }} />
                    <b style={{ inlineSize: `${((step.p50_seconds ?? 0) / longest) * 100}%` }} />
                  </span>
                </td>
                <td className="eo-number">{duration(step.p50_seconds)}</td>
                <td className="eo-number">{duration(step.p90_seconds)}</td>
                <td className="eo-number">{duration(step.queued_p50_seconds)}</td>
                <td className="eo-number">{percent(step.share, 0)}</td>
                <td className="eo-number" data-tone={step.failed > 0 ? "failed" : undefined}>
                  {count(step.failed)}
                </td>
                <td className="eo-number">{count(step.retried)}</td>
              </tr>
            ))}
          </tbody>
        </table>
        </Scroll>
      </Panel>
      {data.branches.map((branch) => (
        <Panel
          key={branch.step.id}
          note={`${count(branch.decisions)} decisions${branch.overridden ? `, ${count(branch.overridden)} overridden by people` : ""}`}
          title={branch.step.title}
        >
          <ul className="eo-bars">
            {branch.ways.map((way) => (
              <li key={way.id}>
                <span>
                  <code>{way.title}</code> <span className="eo-quiet">→ {titled(way.leads_to, titles)}</span>
                </span>
                <span aria-hidden className="eo-bar-track">
                  <i data-tone="live" style={{ inlineSize: `${way.share * 100}%` }} />
                </span>
                <span className="eo-number">{percent(way.share, 0)}</span>
                <span className="eo-number eo-quiet">{count(way.count)}</span>
              </li>
            ))}
          </ul>
        </Panel>
      ))}
      {data.paths.length > 0 ? (
        <Panel note={`the most frequent first; ${toldFrom(data)}`} title="Ways through the stream">
          <ul className="eo-bars">
            {data.paths.map((path) => (
              <li key={path.steps.join()}>
                <span className="eo-path">{path.steps.map((id) => titles.get(id) ?? sentence(id)).join(" → ")}</span>
                <span aria-hidden className="eo-bar-track">
                  <i data-tone="live" style={{ inlineSize: `${path.share * 100}%` }} />
                </span>
                <span className="eo-number">{percent(path.share, 0)}</span>
                <span className="eo-number eo-quiet">{count(path.count)}</span>
              </li>
            ))}
          </ul>
        </Panel>
      ) : null}
      <Panel title="On time, day by day">
        <Trend days={data.trend} />
      </Panel>
    </div>
  );
}

function Versions({ dagId }: { dagId: string }) {
  const asked = useVersions(dagId);
  const [params, setParams] = useSearchParams();
  const [old, fresh] = [params.get("from"), params.get("to")].map((value) => (value ? globalThis.Number(value) : undefined));
  return (
    <Shown asked={asked}>
      {({ items }) => (
        <div className="eo-stacked">
          {items.length > 1 ? (
            <p className="eo-filters">
              Compare
              <VersionChoice items={items} name="from" set={(value) => setParams((now) => changed(now, { from: value }), { replace: true })} value={old} />
              with
              <VersionChoice items={items} name="to" set={(value) => setParams((now) => changed(now, { to: value }), { replace: true })} value={fresh} />
            </p>
          ) : null}
          {old !== undefined && fresh !== undefined && old !== fresh ? <Compared dagId={dagId} fresh={fresh} old={old} /> : null}
          {items.map((version) => (
            <Panel
              key={version.version}
              note={
                <>
                  since <At value={version.first_seen} /> · {count(version.instances)} instances{version.live ? `, ${count(version.live)} live` : ""}
                  {version.current ? " · runs now" : ""}
                </>
              }
              title={`Version ${version.version}`}
            >
              <Changes changes={version.changes} none="The first one that we know, or nothing that shows." />
            </Panel>
          ))}
        </div>
      )}
    </Shown>
  );
}

function VersionChoice({ items, name, value, set }: { items: readonly Version[]; name: string; value: number | undefined; set: (value: string) => void }) {
  return (
    <select aria-label={name === "from" ? "Older version" : "Newer version"} className="eo-input" onChange={(event) => set(event.target.value)} value={value ?? ""}>
      <option value="">–</option>
      {items.map((item) => (
        <option key={item.version} value={item.version}>
          version {item.version}
        </option>
      ))}
    </select>
  );
}

function Compared({ dagId, old, fresh }: { dagId: string; old: number; fresh: number }) {
  const asked = useComparison(dagId, old, fresh);
  return (
    <Panel title={`From version ${old} to version ${fresh}`}>
      <Shown asked={asked} skeleton={<Skeleton rows={2} />}>
        {(data) => <Changes changes={data.changes} none="They are alike." />}
      </Shown>
    </Panel>
  );
}

const SIGNS = { added: "plus", removed: "minus", changed: "retry" } as const;
const TONES = { added: "ok", removed: "failed", changed: "risk" } as const;

function Changes({ changes, none }: { changes: readonly Change[]; none: string }) {
  return changes.length === 0 ? (
    <p className="eo-quiet eo-pad">{none}</p>
  ) : (
    <ul className="eo-changes">
      {changes.map((change) => (
        <li key={`${change.where}/${change.text}`}>
          <Badge look={{ tone: TONES[change.kind], icon: SIGNS[change.kind], text: sentence(change.kind) }} plain />
          <code>{change.where}</code>
          <span>{change.text}</span>
        </li>
      ))}
    </ul>
  );
}

function Ahead({ dagId }: { dagId: string }) {
  const asked = useRunsAhead(dagId);
  return (
    <Shown asked={asked}>
      {(data) => (
        <>
          {data.problem ? (
            <p className="eo-note">
              <Icon name="calendar" /> {data.problem}
            </p>
          ) : null}
          {data.paused ? (
            <p className="eo-note" data-tone="wait">
              <Icon name="pause" /> The stream is paused in Airflow: none of these will start until it is not.
            </p>
          ) : null}
          {data.items.length > 0 ? (
            <Panel
              note={`${data.schedule}${data.timezone ? `, ${data.timezone}` : ""} · ${data.history > 0 ? `ends told from ${count(data.history)} instances` : "not enough history for expected ends"}`}
              title="Next runs"
            >
              <Scroll name="The next runs">
              <table className="eo-table">
                <thead>
                  <tr>
                    <th>Starts</th>
                    <th>Business date</th>
                    <th>Expected end</th>
                    <th>Nine of ten by</th>
                    <th>Due</th>
                  </tr>
                </thead>
                <tbody>
                  {data.items.map((run) => (
                    <tr key={run.at}>
                      <td>{moment(run.at)}</td>
                      <td>{day(run.business_date)}</td>
                      <td>
                        <At value={run.expected_end} />
                      </td>
                      <td>
                        <At value={run.expected_end_p90} />
                      </td>
                      <td>
                        <At value={run.due_at} />
                        {run.due_at && run.expected_end_p90 && run.expected_end_p90 > run.due_at ? (
                          <Badge look={{ tone: "risk", icon: "alert", text: "tight" }} plain />
                        ) : null}
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
              </Scroll>
            </Panel>
          ) : null}
        </>
      )}
    </Shown>
  );
}
