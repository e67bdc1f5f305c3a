import { useEffect, useMemo, useRef, useState } from "react";
import { Link } from "react-router-dom";

import { useEarlierEvents, useEvents, useFacets, type EventQuery } from "../api/queries";
import type { Event, StepFacet } from "../api/schema";
import { count, exactly } from "../lib/format";
import { paths } from "../lib/paths";
import { health, instanceState, sentence, titled, type Look } from "../lib/words";
import { At, Badge, Scroll } from "../ui/parts";
import { Empty, Shown, Skeleton } from "../ui/states";

const KINDS: Record<string, Look> = {
  decision: { tone: "live", icon: "branch", text: "Decision" },
  override: { tone: "risk", icon: "person", text: "Overridden" },
  override_asked: { tone: "risk", icon: "branch", text: "Override asked for" },
  asked: { tone: "wait", icon: "person", text: "Asked" },
  parked: { tone: "wait", icon: "help", text: "Parked" },
  answered: { tone: "ok", icon: "person", text: "Answered" },
  sub_stream: { tone: "live", icon: "remote", text: "Stream started" },
  late: { tone: "late", icon: "clock", text: "Late" },
  ended: { tone: "idle", icon: "check", text: "Ended" },
  deleted: { tone: "failed", icon: "skip", text: "Deleted" },
  triggered: { tone: "live", icon: "play", text: "Started by hand" },
  cleared: { tone: "risk", icon: "retry", text: "Cleared in Airflow" },
  marked: { tone: "risk", icon: "edit", text: "Marked in Airflow" },
  hold: { tone: "wait", icon: "pause", text: "Hold" },
  release: { tone: "ok", icon: "play", text: "Release" },
  skip: { tone: "risk", icon: "skip", text: "Skip" },
  complete: { tone: "risk", icon: "check", text: "Completed by hand" },
  cancel: { tone: "failed", icon: "stop", text: "Cancel" },
  retry: { tone: "risk", icon: "retry", text: "Retry" },
  restart: { tone: "risk", icon: "restart", text: "Restart" },
  params: { tone: "live", icon: "edit", text: "Params changed" },
  priority: { tone: "live", icon: "priority", text: "Priority changed" },
  due: { tone: "live", icon: "clock", text: "Due time changed" },
  acknowledge: { tone: "ok", icon: "check", text: "Acknowledged" },
  unacknowledge: { tone: "idle", icon: "dash", text: "Acknowledgement taken back" },
};

/** A kind that we do not know yet, from a newer server, is shown as it is. */
export const kindLook = (kind: string): Look => KINDS[kind] ?? { tone: "idle", icon: "dot", text: sentence(kind) };

/**
 * Events, the newest first: the first page is renewed, and what came before it is added when somebody asks. Where more came
 * at once than a page holds, what was added goes, because something is missing in between.
 */
function useEventList(query: EventQuery) {
  const question = JSON.stringify(query);
  const head = useEvents(query);
  const [opened, setOpened] = useState<{ question: string; cursor: string } | undefined>();
  const cursor = opened?.question === question ? opened.cursor : null;
  const earlier = useEarlierEvents(query, cursor);
  const kept = useRef<readonly Event[]>([]);
  const items = head.data?.items ?? [];
  const gap = cursor !== null && !items.some(({ id }) => kept.current.some((event) => event.id === id));
  kept.current = cursor === null || gap ? items : merged(items, kept.current);
  useEffect(() => {
    if (gap) {
      setOpened(undefined);
    }
  }, [gap]);
  const more = () => {
    if (cursor !== null) {
      void earlier.fetchNextPage();
    } else if (head.data?.next_cursor) {
      setOpened({ question, cursor: head.data.next_cursor });
    }
  };
  return {
    asked: head,
    events: merged(kept.current, earlier.data?.pages.flatMap((page) => page.items) ?? []),
    total: head.data?.total ?? 0,
    more: (cursor === null ? head.data?.next_cursor : earlier.hasNextPage || earlier.isFetching) ? more : undefined,
    loading: earlier.isFetching,
  };
}

function merged(first: readonly Event[], then: readonly Event[]): readonly Event[] {
  const known = new Set(first.map(({ id }) => id));
  return [...first, ...then.filter(({ id }) => !known.has(id))];
}

const NONE: ReadonlyMap<string, string> = new Map();

/** The titles of the steps of each stream. */
function titlesOf(steps: readonly StepFacet[]): ReadonlyMap<string, ReadonlyMap<string, string>> {
  const found = new Map<string, Map<string, string>>();
  for (const { dag_id: stream, id, title } of steps) {
    found.set(stream, (found.get(stream) ?? new Map()).set(id, title));
  }
  return found;
}

/** The audit trail of what `fixed` says. */
export function EventList({ fixed, within = false }: { fixed: EventQuery; within?: boolean }) {
  const { asked, events, total, more, loading } = useEventList(fixed);
  const known = useFacets().data?.steps;
  const steps = useMemo(() => titlesOf(known ?? []), [known]);
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
                    <Row event={event} key={event.id} steps={steps} within={within} />
                  ))}
                </tbody>
              </table>
            </Scroll>
            <p className="eo-pad eo-quiet">
              {count(events.length)} of {count(total)}{" "}
              {more ? (
                <button className="eo-button" disabled={loading} onClick={more} type="button">
                  {loading ? "Loading …" : "Show more"}
                </button>
              ) : null}
            </p>
          </>
        )
      }
    </Shown>
  );
}

function Row({ event, within, steps }: { event: Event; within: boolean; steps: ReadonlyMap<string, ReadonlyMap<string, string>> }) {
  const titles = steps.get(event.dag_id) ?? NONE;
  return (
    <tr>
      <td title={exactly(event.at)}>
        <At value={event.at} />
      </td>
      <td>
        <Badge look={event.kind === "ended" && record(event)?.["state"] === "failed" ? { ...kindLook("ended"), tone: "failed", icon: "cross" } : kindLook(event.kind)} plain />
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
        <Change event={event} titles={titles} />
      </td>
    </tr>
  );
}

/** What an event left, where that has names. */
const record = ({ after }: Event): Record<string, unknown> | undefined => (typeof after === "object" && after !== null ? (after as Record<string, unknown>) : undefined);

/** What changed: of an action what the server said of it, of steps their titles, of all else the values. */
function Change({ event, titles }: { event: Event; titles: ReadonlyMap<string, string> }) {
  const after = record(event);
  if (typeof after?.["sentence"] === "string") {
    return <>{after["sentence"]}</>;
  }
  if (event.kind === "ended" && typeof after?.["state"] === "string") {
    const [state, how] = [after["state"], String(after["health"] ?? "")];
    return <>{[instanceState(state).text, how && how !== state ? health(how).text.toLowerCase() : ""].filter(Boolean).join(", ")}</>;
  }
  return (
    <>
      {event.before === null || event.before === undefined ? null : (
        <>
          <del>{titled(event.before, titles)}</del> →{" "}
        </>
      )}
      {event.after === null || event.after === undefined ? null : <span>{titled(event.after, titles)}</span>}
    </>
  );
}
