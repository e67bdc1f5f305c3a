import { Link, useSearchParams } from "react-router-dom";

import { useInstance } from "../api/queries";
import type { Cause, DecisionTold, InstanceDetail, Why } from "../api/schema";
import { delta, exactly, moment } from "../lib/format";
import { paths } from "../lib/paths";
import { changed } from "../lib/view";
import { endless, health, holdsInShort, instanceState, level, sentence, told } from "../lib/words";
import { Otherwise, Rules, SeenValues } from "../ui/decided";
import { Gantt } from "../ui/gantt";
import { focusStep, Graph } from "../ui/graph";
import { Icon, type IconName } from "../ui/icons";
import { JobBadge, JobId, saidOf } from "../ui/job";
import { AsOf, At, Badge, Expected, Fact, Panel, Scroll, Seen, StackTag, Tabs, Took } from "../ui/parts";
import { Empty, Shown, Skeleton, trouble } from "../ui/states";
import { EventList } from "./events";
import { InstanceOffers, useActing, type Acting } from "./offers";
import { StepPanel } from "./step";

interface Props {
  dagId: string;
  runId: string;
  /** In a tab of the host, which names the run already. */
  embedded?: boolean;
}

/** One order, one claim, one day's end: where it is, why, and what it has done. */
export default function Instance({ dagId, runId, embedded = false }: Props) {
  const asked = useInstance(dagId, runId);
  const acting = useActing(asked.data);
  return (
    <main className="eo-page">
      <Shown asked={asked} missing={embedded ? "This is no instance of a value stream" : "There is no such instance"} skeleton={<Skeleton rows={8} tiles={4} />}>
        {(data) => (
          <>
            <Head acting={acting} data={data} embedded={embedded} trouble={trouble(asked)} />
            <WhyPanel why={data.why} />
            <Body acting={acting} data={data} />
            {acting.dialog}
          </>
        )}
      </Shown>
    </main>
  );
}

function Head({ data, acting, embedded, trouble: why }: { data: InstanceDetail; acting: Acting; embedded: boolean; trouble: string | undefined }) {
  const row = data.instance;
  return (
    <>
      <header className="eo-head">
        <div className="eo-name">
          {embedded ? null : (
            <nav aria-label="Where this is" className="eo-crumbs">
              <Link to={paths.stream(row.dag_id)}>{row.stream}</Link>
              {row.version === null ? null : <span className="eo-quiet">version {row.version}</span>}
            </nav>
          )}
          <h1>
            {row.key}
            <Badge look={health(row.health)} text={lateText(row)} />
            {row.live || row.health === row.state ? null : <Badge look={instanceState(row.state)} plain />}
          </h1>
        </div>
        <span className="eo-grow" />
        <AsOf at={data.as_of} trouble={why} />
        {data.links.map((link) => (
          <a className="eo-button" href={hostPath(link.href)} key={link.href}>
            {link.title}
            <Icon name="link" size={12} />
          </a>
        ))}
        <InstanceOffers acting={acting} />
      </header>
      {data.gone ? (
        <p className="eo-note">
          <Icon name="clock" /> Airflow has forgotten this run. What you see is our own history of it.
        </p>
      ) : null}
      <dl className="eo-facts">
        <Fact name="Due">
          <At value={row.due_at} />
          {row.first_due_at && row.first_due_at !== row.due_at ? <small>first {moment(row.first_due_at)}</small> : null}
        </Fact>
        {row.live ? (
          <Fact name="Expected">
            <Expected atLeast={endless(row)} due={row.due_at} forecast={row.forecast} />
            {row.forecast?.enough ? <small>nine of ten by {moment(row.forecast.p90)}</small> : null}
            {row.forecast?.enough && endless(row) ? (
              <small>{row.parked ? "the answer that it waits for" : "the end of the hold"} counts as if it came at once</small>
            ) : null}
          </Fact>
        ) : (
          <Fact name="Ended">
            <At value={row.ended_at} />
          </Fact>
        )}
        <Fact name="Began">
          <At value={row.started_at} />
          <small>
            <Took from={row.started_at} to={row.ended_at ?? (row.live ? data.as_of : null)} />
          </small>
        </Fact>
        {row.step ? (
          <Fact name="Is at">
            {row.step.title}
            <small>{row.step.stack.title}</small>
          </Fact>
        ) : null}
        {row.business_date ? <Fact name="Business date">{row.business_date}</Fact> : null}
        <Fact name="Owner">
          {row.owner || "–"}
          <small>{row.domain}</small>
        </Fact>
        <Fact name="Criticality">{sentence(row.criticality)}</Fact>
        <Fact name="Acknowledged">
          <Seen acknowledged={row.acknowledged} />
        </Fact>
      </dl>
    </>
  );
}

/** How late it is, of one that is late by a minute or more; one that failed is that first. */
const lateText = (row: InstanceDetail["instance"]): string | undefined =>
  row.health === "late" && (row.late_seconds ?? 0) >= 60 ? `${health(row.health).text} ${delta(row.late_seconds ?? 0)}` : undefined;

/** A path on this host, below whatever base path it has. */
const hostPath = (href: string): string => new URL(href.replace(/^\//u, ""), document.baseURI).href;

const CAUSES: Record<string, IconName> = {
  stream: "branch",
  step: "play",
  remote_job: "remote",
  system: "remote",
  resource: "lock",
  person: "person",
  calendar: "calendar",
  hold: "pause",
  branch: "branch",
  retry: "retry",
  failure: "cross",
  queue: "clock",
};

/** From what one sees down to what one can do something about. */
function WhyPanel({ why }: { why: Why }) {
  if (why.chain.length === 0) {
    return null;
  }
  // The headline is the first link: it is not said twice.
  const chain = why.chain[0]?.text === why.headline ? why.chain.slice(1) : why.chain;
  return (
    <section aria-label="Why" className="eo-why" data-tone={level(why.level).tone}>
      <h2>{why.headline}</h2>
      {chain.length > 0 ? (
        <ol>
          {chain.map((cause, index) => (
            <CauseLine cause={cause} key={index} last={index === chain.length - 1} />
          ))}
        </ol>
      ) : null}
    </section>
  );
}

function CauseLine({ cause, last }: { cause: Cause; last: boolean }) {
  return (
    <li data-root={last ? "" : undefined} data-tone={level(cause.level).tone}>
      <span className="eo-why-icon">
        <Icon name={CAUSES[cause.kind] ?? "dot"} />
      </span>
      <span>
        {cause.text}
        <small>
          {[
            cause.since ? `since ${moment(cause.since)}` : "",
            cause.job?.job_id ? `job ${cause.job.job_id}` : "",
            cause.others ? `${cause.others} other ${cause.others === 1 ? "instance waits" : "instances wait"} for the same` : "",
          ]
            .filter(Boolean)
            .join(" · ")}
        </small>
      </span>
    </li>
  );
}

function Body({ data, acting }: { data: InstanceDetail; acting: Acting }) {
  const [params, setParams] = useSearchParams();
  const chosen = params.get("step");
  const choose = (id: string | null) => setParams((now) => changed(now, { step: id }), { replace: true });
  const node = data.graph.nodes.find(({ id }) => id === chosen);
  const close = () => {
    choose(null);
    focusStep(chosen ?? "");
  };
  const row = data.instance;
  const jobs = data.jobs.reduce((sum, { jobs: some }) => sum + (some?.length ?? 0), 0);
  return (
    <Tabs
      tabs={[
        { id: "graph", title: "Graph" },
        { id: "timeline", title: "Timeline" },
        { id: "decisions", title: "Decisions", count: data.decisions.length },
        { id: "jobs", title: "Remote jobs", count: jobs },
        { id: "data", title: "Data" },
        { id: "audit", title: "Audit" },
      ]}
    >
      {(tab) => {
        switch (tab) {
          case "timeline":
            return <Gantt timeline={{ ...data.timeline, now: data.as_of }} />;
          case "decisions":
            return <Decisions decisions={data.decisions} titles={new Map(data.graph.nodes.map(({ id, title }) => [id, title]))} />;
          case "jobs":
            return <Jobs data={data} />;
          case "data":
            return <Data data={data} />;
          case "audit":
            return <EventList fixed={{ stream: [row.dag_id], run_id: row.run_id }} within />;
          default:
            return (
              <div className="eo-split" data-open={node ? "" : undefined}>
                <Graph choose={choose} chosen={chosen} decisions={data.decisions} graph={data.graph} held={(id) => holdsInShort(acting.held(id))} />
                {node ? <StepPanel acting={acting} close={close} data={data} node={node} /> : null}
              </div>
            );
        }
      }}
    </Tabs>
  );
}

function Decisions({ decisions, titles }: { decisions: readonly DecisionTold[]; titles: ReadonlyMap<string, string> }) {
  if (decisions.length === 0) {
    return <Empty title="Nothing was decided yet">Decisions appear here with the values that they looked at.</Empty>;
  }
  return (
    <div className="eo-stacked">
      {decisions.map((decision) => (
        <Panel key={decision.step.id} note={<>{decision.at ? exactly(decision.at) : null} · by {decision.by}</>} title={decision.step.title}>
          <p className="eo-pad">{decision.sentence}</p>
          <Otherwise decision={decision} titles={titles} />
          <Rules decision={decision} titles={titles} />
          <SeenValues decision={decision} />
        </Panel>
      ))}
    </div>
  );
}

function Jobs({ data }: { data: InstanceDetail }) {
  const rows = data.jobs
    .flatMap((step) => (step.jobs ?? []).map((job) => ({ step, job })))
    .sort((a, b) => (a.job.opened ?? "").localeCompare(b.job.opened ?? ""));
  const broken = data.jobs.filter(({ problem }) => problem);
  if (rows.length === 0 && broken.length === 0) {
    return <Empty title="No job was handed over yet">Jobs on other systems appear here, attempt by attempt.</Empty>;
  }
  return (
    <>
      {broken.map(({ task_id: id, step, problem }) => (
        <p className="eo-note" data-tone="failed" key={id}>
          <Icon name="alert" /> The record of {step?.title ?? sentence(id)} cannot be read: {problem}
        </p>
      ))}
      <Scroll framed name="Remote jobs">
        <table className="eo-table">
          <thead>
            <tr>
              <th>Step</th>
              <th>System</th>
              <th>Job</th>
              <th>Attempt</th>
              <th>State</th>
              <th>Handed over</th>
              <th>Closed</th>
              <th>Closed by</th>
              <th>Message</th>
            </tr>
          </thead>
          <tbody>
            {rows.map(({ step, job }) => (
              <tr key={`${step.task_id}/${step.map_index}/${job.attempt}`}>
                <td className="eo-two">
                  {step.step?.title ?? sentence(step.task_id)}
                  {step.undoing ? <small>undoing it</small> : null}
                  {step.map_index >= 0 ? <small>item {step.map_index + 1}</small> : null}
                </td>
                <td title={job.system}>{step.step?.stack.title ?? job.system}</td>
                <td>
                  <JobId job={job} /> <span className="eo-quiet">{job.job_name}</span>
                </td>
                <td>{job.attempt}</td>
                <td>
                  <JobBadge job={job} />
                  <small>{saidOf(job)}</small>
                </td>
                <td>
                  <At value={job.opened} />
                </td>
                <td>
                  <At value={job.closed} />
                </td>
                <td>{job.closed_by ?? "–"}</td>
                <td className="eo-lines">{job.parked ?? job.message ?? ""}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </>
  );
}

function Data({ data }: { data: InstanceDetail }) {
  const outputs = Object.entries(data.outputs);
  const titles = new Map(data.graph.nodes.map(({ id, title, stack }) => [id, { title, stack }]));
  return (
    <div className="eo-stacked">
      <Panel title="Started with">
        <Values values={data.params} />
      </Panel>
      {outputs.map(([id, values]) => {
        const step = titles.get(id);
        return (
          <Panel key={id} note={step ? <StackTag stack={step.stack} /> : null} title={step?.title ?? sentence(id)}>
            <Values values={values} />
          </Panel>
        );
      })}
      {outputs.length === 0 ? <p className="eo-quiet">No step has given anything yet.</p> : null}
    </div>
  );
}

function Values({ values }: { values: Record<string, unknown> }) {
  // Databases keep them in orders of their own.
  const entries = Object.entries(values).sort(([a], [b]) => a.localeCompare(b));
  return entries.length === 0 ? (
    <p className="eo-quiet eo-pad">Nothing.</p>
  ) : (
    <dl className="eo-values">
      {entries.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{typeof value === "string" && WEB.test(value) ? <Web address={value} /> : told(value)}</dd>
        </div>
      ))}
    </dl>
  );
}

const WEB = /^https?:\/\/\S+$/iu;

/** An address on the web, as long as people read: what lets one in at its end is for the browser. */
function Web({ address }: { address: string }) {
  return (
    <a href={address} rel="noreferrer" target="_blank">
      {address.replace(/[?#].*$/u, "")} <Icon name="link" size={12} />
    </a>
  );
}
