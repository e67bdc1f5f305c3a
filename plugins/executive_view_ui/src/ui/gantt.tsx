import type { Bar, Timeline } from "../api/schema";
import { between, duration, exactly, moment } from "../lib/format";
import { stepState } from "../lib/words";
import { Icon } from "./icons";

const COUNT = 6;
/** How many times as long as all that happens the time between that and the due time may be to be drawn. */
const FAR = 2;
/** Steps between two marks of the axis, in seconds. */
const STEPS = [60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800];

/** Plan, actual and forecast on one axis: what is solid has happened, what is hatched is expected. */
export function Gantt({ timeline }: { timeline: Timeline }) {
  const bars = timeline.bars.flatMap((bar) => [bar.plan_start, bar.plan_end, bar.start, bar.end, bar.forecast_start, bar.forecast_end_p90 ?? bar.forecast_end]);
  const open = timeline.bars.some((bar) => bar.start && !bar.end);
  const times = [timeline.start, open ? timeline.now : null, ...bars].flatMap((time) => (time ? [Date.parse(time)] : []));
  const due = timeline.due_at ? Date.parse(timeline.due_at) : null;
  if (timeline.bars.length === 0 || (times.length === 0 && due === null)) {
    return <p className="eo-quiet eo-pad">Nothing has happened yet, and there is no history to plan by.</p>;
  }
  const first = Math.min(...(times.length > 0 ? times : [due!]));
  const last = Math.max(...times, first + 60_000);
  // What happens is to be seen: a due time that is far from all of it stands at the edge.
  const reach = FAR * (last - first);
  const far = due === null ? "" : due - last > reach ? "after" : first - due > reach ? "before" : "";
  const shown = due === null || far ? [] : [due];
  const [from, to] = [Math.min(first, ...shown), Math.max(last, ...shown)];
  const spread = (to - from) * (far === "after" ? 1.1 : 1.03); // beside the last bar stands how long it took
  const x = (time: string | null | undefined): number => (time ? ((Date.parse(time) - from) / spread) * 100 : 0);
  const width = (start: string | null, end: string | null): number => Math.max(0.35, x(end) - x(start));
  const step = (STEPS.find((seconds) => (spread / 1000 / seconds) <= COUNT) ?? 604_800) * 1000;
  const marks: string[] = [];
  for (let time = Math.ceil(from / step) * step; time <= from + spread; time += step) {
    marks.push(new Date(time).toISOString());
  }
  const now = Date.parse(timeline.now) <= from + spread ? timeline.now : null;
  return (
    <div className="eo-gantt" dir="ltr">
      <div className="eo-gantt-rows">
        <div aria-hidden className="eo-gantt-lines">
          {marks.map((mark) => (
            <i key={mark} style={{ left: `${x(mark)}%` }}>
              <span>{moment(mark)}</span>
            </i>
          ))}
          {now ? <i className="eo-now" style={{ left: `${x(now)}%` }} /> : null}
          {timeline.due_at ? (
            <i className="eo-due" data-far={far || undefined} style={{ left: `${far === "after" ? 100 : far ? 0 : x(timeline.due_at)}%` }}>
              <span>
                {far === "before" ? "← " : ""}due {moment(timeline.due_at)}
                {far === "after" ? " →" : ""}
              </span>
            </i>
          ) : null}
        </div>
        <ul>
          {timeline.bars.map((bar) => (
            <Row bar={bar} key={bar.step.id} now={timeline.now} width={width} x={x} />
          ))}
        </ul>
      </div>
      <p className="eo-legend">
        <span>
          <i className="eo-g-plan" /> as usual
        </span>
        <span>
          <i className="eo-g-actual" data-tone="ok" /> actual
        </span>
        <span>
          <i className="eo-g-forecast" /> expected
        </span>
        <span className="eo-quiet">
          {timeline.history > 0 ? `usual and expected times are told from ${timeline.history} ended ${timeline.history === 1 ? "instance" : "instances"}` : "not enough history for usual or expected times"}
        </span>
      </p>
    </div>
  );
}

interface RowProps {
  bar: Bar;
  now: string;
  x: (time: string | null | undefined) => number;
  width: (start: string | null, end: string | null) => number;
}

function Row({ bar, now, x, width }: RowProps) {
  const look = stepState(bar.state);
  const ran = bar.state !== "skipped";
  const took = bar.start && ran ? duration(between(bar.start, bar.end ?? now)) : "";
  const usual = bar.plan_start && bar.plan_end ? `, usually ${duration(between(bar.plan_start, bar.plan_end))}` : "";
  const said = [
    `${bar.step.title}: ${look.text.toLowerCase()}`,
    bar.start ? `began ${exactly(bar.start)}` : "",
    took ? `took ${took}${usual}` : "",
    bar.forecast_end ? `expected to end ${exactly(bar.forecast_end)}` : "",
  ]
    .filter(Boolean)
    .join("; ");
  const end = bar.end ?? (bar.start ? now : null);
  return (
    <li title={said}>
      <span className="eo-gantt-name" data-tone={look.tone}>
        <Icon name={look.icon} />
        <span>{bar.step.title}</span>
        <small>{bar.step.stack.title}</small>
      </span>
      <span className="eo-gantt-track">
        <span className="eo-hidden">{said}</span>
        {bar.plan_start && bar.plan_end ? (
          <i className="eo-g-plan" style={{ left: `${x(bar.plan_start)}%`, width: `${width(bar.plan_start, bar.plan_end)}%` }} />
        ) : null}
        {bar.forecast_end && !bar.end ? (
          <>
            {bar.forecast_end_p90 ? (
              <i
                className="eo-g-forecast eo-g-p90"
                style={{
                  left: `${x(bar.start ? now : bar.forecast_start)}%`,
                  width: `${width(bar.start ? now : bar.forecast_start, bar.forecast_end_p90)}%`,
                }}
              />
            ) : null}
            <i
              className="eo-g-forecast"
              style={{
                left: `${x(bar.start ? now : bar.forecast_start)}%`,
                width: `${width(bar.start ? now : bar.forecast_start, bar.forecast_end)}%`,
              }}
            />
          </>
        ) : null}
        {bar.start && ran ? (
          <i className="eo-g-actual" data-tone={look.tone} style={{ left: `${x(bar.start)}%`, width: `${width(bar.start, end)}%` }} />
        ) : null}
        {bar.start && ran ? (
          <small aria-hidden className="eo-gantt-took" style={{ left: `calc(${x(bar.end ?? bar.forecast_end_p90 ?? bar.forecast_end ?? now)}% + 6px)` }}>
            {took}
            {bar.tries > 1 ? ` · ${bar.tries} tries` : ""}
          </small>
        ) : null}
      </span>
    </li>
  );
}
