import { Link } from "react-router-dom";

import { useEvents, type EventQuery } from "../api/queries";
import type { Event } from "../api/schema";
import { count, exactly } from "../lib/format";
import { paths } from "../lib/paths";
import { sentence, told, type Look } from "../lib/words";
import { At, Badge, Scroll } from "../ui/parts";
import { Empty, Shown, Skeleton } from "../ui/states";

const KINDS: Record<string, Look> = {
  decision: { tone: "live", icon: "branch", text: "Decision" },
  override: { tone: "risk", icon: "person", text: "Override" },
  asked: { tone: "wait", icon: "person", text: "Asked" },
  parked: { tone: "wait", icon: "help", text: "Parked" },
  answered: { tone: "ok", icon: "person", text: "Answered" },
  alert: { tone: "late", icon: "alert", text: "Alert" },
  hold: { tone: "wait", icon: "pause", text: "Hold" },
  release: { tone: "ok", icon: "play", text: "Release" },
  skip: { tone: "risk", icon: "skip", text: "Skip" },
  sub_stream: { tone: "live", icon: "remote", text: "Stream started" },
  late: { tone: "late", icon: "clock", text: "Late" },
  ended: { tone: "idle", icon: "check", text: "Ended" },
  deleted: { tone: "failed", icon: "skip", text: "Deleted" },
  orphan: { tone: "failed", icon: "remote", text: "Orphan" },
};

export const kindLook = (kind: string): Look => KINDS[kind] ?? { tone: "idle", icon: "dot", text: sentence(kind) };
export const KIND_CHOICES = Object.entries(KINDS).map(([id, { text: title }]) => ({ id, title }));

/** The audit trail of what `fixed` says. */
export function EventList({ fixed, within = false }: { fixed: EventQuery; within?: boolean }) {
  const asked = useEvents(fixed);
  const events = asked.data?.pages.flatMap((page) => page.items) ?? [];
  const total = asked.data?.pages[0]?.total ?? 0;
  return (
    <Shown asked={asked} skeleton={<Skeleton rows={8} />}>
      {() =>
        events.length === 0 ? (
          <Empty title="Nothing to tell">{within ? "Decisions, alerts and what people did appear here." : "No event fits the filter above."}</Empty>
        ) : (
          <>
            <Scroll framed name="Events">
              <table className="eo-table">
                <thead>
                  <tr>
                    <th>When</th>
                    <th>What</th>
                    {within ? null : <th>Instance</th>}
                    <th>Step</th>
                    <th>Who</th>
                    <th>Why</th>
                    <th>Change</th>
                  </tr>
                </thead>
                <tbody>
                  {events.map((event) => (
                    <Row event={event} key={event.id} within={within} />
                  ))}
                </tbody>
              </table>
            </Scroll>
            <p className="eo-pad eo-quiet">
              {count(events.length)} of {count(total)}{" "}
              {asked.hasNextPage ? (
                <button className="eo-button" disabled={asked.isFetchingNextPage} onClick={() => void asked.fetchNextPage()} type="button">
                  {asked.isFetchingNextPage ? "Loading …" : "Show more"}
                </button>
              ) : null}
            </p>
          </>
        )
      }
    </Shown>
  );
}

function Row({ event, within }: { event: Event; within: boolean }) {
  return (
    <tr>
      <td title={exactly(event.at)}>
        <At value={event.at} />
      </td>
      <td>
        <Badge look={kindLook(event.kind)} plain />
      </td>
      {within ? null : (
        <td className="eo-two">
          {event.run_id ? <Link to={paths.instance(event.dag_id, event.run_id)}>{event.key ?? event.run_id}</Link> : <span className="eo-quiet">–</span>}
          <small>{event.stream}</small>
        </td>
      )}
      <td>{event.step?.title ?? <span className="eo-quiet">–</span>}</td>
      <td>{event.actor ?? <span className="eo-quiet">–</span>}</td>
      <td>{event.reason ?? <span className="eo-quiet">–</span>}</td>
      <td className="eo-change">
        {event.before === null || event.before === undefined ? null : (
          <>
            <del>{told(event.before)}</del> →{" "}
          </>
        )}
        {event.after === null || event.after === undefined ? null : <span>{told(event.after)}</span>}
      </td>
    </tr>
  );
}
