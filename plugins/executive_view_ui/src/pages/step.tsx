import { useEffect, useRef } from "react";
import { Link } from "react-router-dom";

import { useStepLog } from "../api/queries";
import type { InstanceDetail, Node } from "../api/schema";
import { decidedAbout } from "../lib/decided";
import { paths } from "../lib/paths";
import { sentence, stepState } from "../lib/words";
import { DecidedBeside } from "../ui/decided";
import { undoing } from "../ui/graph";
import { Icon } from "../ui/icons";
import { JobBadge, JobId, saidOf } from "../ui/job";
import { At, Badge, Fact, StackTag, Took } from "../ui/parts";
import { Shown, Skeleton } from "../ui/states";
import { HeldJobs, StepOffers, type Acting } from "./offers";

/** One step of one instance: how it went, its remote job, and the end of its log. */
export function StepPanel({ data, node, acting, close }: { data: InstanceDetail; node: Node; acting: Acting; close: () => void }) {
  const run = node.run;
  const { dag_id: dagId, run_id: runId } = data.instance;
  const task = `dags/${encodeURIComponent(dagId)}/runs/${encodeURIComponent(runId)}/tasks/${encodeURIComponent(node.id)}`;
  const decisions = [...data.decisions.filter(({ step }) => step.id === node.id), ...decidedAbout(data.decisions, node.id)];
  const titles = new Map(data.graph.nodes.map(({ id, title }) => [id, title]));
  const room = useRef<HTMLElement>(null);
  useEffect(() => {
    const onKeyDown = (event: KeyboardEvent) => {
      if (event.key === "Escape") {
        close();
      }
    };
    document.addEventListener("keydown", onKeyDown);
    return () => document.removeEventListener("keydown", onKeyDown);
  }, [close]);
  return (
    <aside aria-label={node.title} className="eo-side" ref={room}>
      <header>
        <div>
          <h2>{node.title}</h2>
          <StackTag stack={node.stack} /> <span className="eo-quiet">{node.connection ?? node.kind}</span>
        </div>
        <button aria-label="Close" className="eo-button eo-square" onClick={close} type="button">
          <Icon name="cross" />
        </button>
      </header>
      {run ? (
        <>
          <p>
            <Badge look={stepState(run.state)} /> {run.late ? <b data-tone="late">late</b> : null}
          </p>
          <StepOffers acting={acting} node={node} />
          <HeldJobs jobs={acting.held(node.id)} />
          {undoing(node) ? (
            <p className="eo-note" data-tone={node.undo?.state === "failed" ? "failed" : "risk"}>
              <Icon name="retry" /> {sentence(undoing(node))}
              {node.undo?.ended_at ? <> at <At value={node.undo.ended_at} /></> : null}
              {node.undo?.job?.job_id ? `, job ${node.undo.job.job_id}` : ""}
              {node.undo?.message ? `: ${node.undo.message}` : ""}
              {node.undo?.job?.parked ? `: ${node.undo.job.parked}` : ""}
            </p>
          ) : null}
          {run.message ? <p className="eo-note">{run.message}</p> : null}
          <dl className="eo-facts eo-facts-small">
            <Fact name="Began">
              <At value={run.started_at} />
            </Fact>
            <Fact name="Ended">
              <At value={run.ended_at} />
            </Fact>
            <Fact name="Took">
              <Took from={run.started_at} to={run.ended_at ?? (run.started_at ? data.as_of : null)} />
            </Fact>
            <Fact name="Waited for a slot">
              <Took from={run.queued_at} to={run.started_at} />
            </Fact>
            <Fact name="Due">
              <At value={run.due_at} />
            </Fact>
            <Fact name="Try">{run.try_number}</Fact>
            {run.items ? (
              <Fact name="Items">
                {run.items.done} of {run.items.total}
                {run.items.failed ? `, ${run.items.failed} failed` : ""}
              </Fact>
            ) : null}
          </dl>
          {run.job ? (
            <section>
              <h3>Remote job</h3>
              <dl className="eo-facts eo-facts-small">
                <Fact name="Job">
                  <JobId job={run.job} none="not known yet" />
                  {run.job.job_name ? <small>{run.job.job_name}</small> : null}
                </Fact>
                <Fact name="State">
                  <JobBadge job={run.job} />
                  <small>{saidOf(run.job)}</small>
                </Fact>
                <Fact name="Handed over">
                  <At value={run.job.opened} />
                </Fact>
                <Fact name="System">
                  <small>{run.job.system}</small>
                </Fact>
              </dl>
              {run.job.parked ? (
                <p className="eo-note" data-tone="wait">
                  {run.job.parked}
                </p>
              ) : null}
              {run.job.message && run.job.message !== run.message ? <p className="eo-note">{run.job.message}</p> : null}
            </section>
          ) : null}
        </>
      ) : (
        <>
          <p className="eo-quiet">Its turn has not come.</p>
          <StepOffers acting={acting} node={node} />
        </>
      )}
      {decisions.map((decision) => (
        <DecidedBeside decision={decision} key={decision.step.id} step={node.id} titles={titles} />
      ))}
      {node.sub_stream && !node.sub_stream.dag_id ? <p>Runs another stream that you may not see.</p> : null}
      {node.sub_stream?.dag_id && node.sub_stream.run_id && node.sub_stream.title ? (
        <p>
          Runs <Link to={paths.instance(node.sub_stream.dag_id, node.sub_stream.run_id)}>{node.sub_stream.title}</Link>
        </p>
      ) : null}
      {run?.started_at && !data.gone ? <Tail dagId={dagId} key={node.id} runId={runId} taskId={node.id} /> : null}
      {data.gone ? null : (
        <a className="eo-button" href={new URL(task, document.baseURI).href}>
          In Airflow <Icon name="link" size={12} />
        </a>
      )}
    </aside>
  );
}

function Tail({ dagId, runId, taskId }: { dagId: string; runId: string; taskId: string }) {
  const asked = useStepLog(dagId, runId, taskId);
  const room = useRef<HTMLPreElement>(null);
  // What it wrote last is what people look for; one that reads further up is not taken away from there.
  const atEnd = useRef(true);
  const lines = asked.data?.lines;
  useEffect(() => {
    if (room.current && atEnd.current) {
      room.current.scrollTop = room.current.scrollHeight;
    }
  }, [lines]);
  return (
    <section>
      <h3>End of the log</h3>
      <Shown asked={asked} skeleton={<Skeleton rows={3} />}>
        {(log) =>
          log.problem || log.lines.length === 0 ? (
            <p className="eo-quiet">{log.problem ?? "It has written nothing yet."}</p>
          ) : (
            <pre
              aria-label="Log"
              className="eo-log"
              dir="ltr"
              onScroll={({ currentTarget: it }) => {
                atEnd.current = it.scrollTop + it.clientHeight >= it.scrollHeight - 4;
              }}
              ref={room}
              tabIndex={0}
            >
              {log.map_index >= 0 ? `Item ${log.map_index + 1}\n` : ""}
              {log.cut ? "…\n" : ""}
              {log.lines.join("\n")}
            </pre>
          )
        }
      </Shown>
    </section>
  );
}
