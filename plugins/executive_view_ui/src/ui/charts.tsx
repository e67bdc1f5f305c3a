import type { StackLateness, TrendDay } from "../api/schema";
import { count, day, duration, percent } from "../lib/format";

const WIDTH = 600;
const HEIGHT = 120;

/** The share that was on time, day by day, over bars of how much ended. A day on which nothing ended breaks the line. */
export function Trend({ days, target = 0.95 }: { days: readonly TrendDay[]; target?: number }) {
  const shares = days.flatMap(({ on_time_share: share }) => (share === null ? [] : [share]));
  if (shares.length === 0) {
    return <p className="eo-quiet eo-pad">Nothing that had a due time has ended yet.</p>;
  }
  const floor = Math.max(0, Math.floor((Math.min(target, ...shares) - 0.02) * 20) / 20);
  const y = (share: number) => HEIGHT - ((share - floor) / (1 - floor || 1)) * HEIGHT;
  const step = WIDTH / Math.max(1, days.length);
  const busiest = Math.max(1, ...days.map(({ ended }) => ended));
  const lines: string[] = [];
  const dots: string[] = [];
  let open = false;
  days.forEach(({ on_time_share: share }, index) => {
    if (share === null) {
      open = false;
      return;
    }
    const at = `${((index + 0.5) * step).toFixed(1)} ${y(share).toFixed(1)}`;
    lines.push(`${open ? "L" : "M"}${at}`);
    // A day between two that have nothing to tell is no line, but a line to where it is makes a dot.
    if (!open && (days[index + 1]?.on_time_share ?? null) === null) {
      dots.push(`M${at}h0`);
    }
    open = true;
  });
  const first = days[0]?.day;
  const last = days.at(-1);
  return (
    <figure
      aria-label={`On time by day, ${days.length} days: lowest ${percent(Math.min(...shares))}, latest ${percent(shares.at(-1))}.`}
      className="eo-chart"
      dir="ltr"
      role="img"
    >
      <div className="eo-axis">
        <span>100 %</span>
        <span>{percent(floor, 0)}</span>
      </div>
      <svg preserveAspectRatio="none" viewBox={`0 0 ${WIDTH} ${HEIGHT}`}>
        {days.map((one, index) => {
          const whole = (one.ended / busiest) * HEIGHT * 0.55;
          const bad = one.ended === 0 ? 0 : (Math.min(one.ended, one.late + one.failed) / one.ended) * whole;
          return (
            <g key={one.day}>
              <title>
                {`${day(one.day)}: ${percent(one.on_time_share)} on time; ${count(one.ended)} ended, ${count(one.late)} late, ${count(one.failed)} failed`}
              </title>
              <rect fill="transparent" height={HEIGHT} width={step} x={index * step} y={0} />
              <rect className="eo-bar" height={whole - bad} width={step * 0.62} x={(index + 0.19) * step} y={HEIGHT - whole + bad} />
              <rect className="eo-bar" data-tone="late" height={bad} width={step * 0.62} x={(index + 0.19) * step} y={HEIGHT - whole} />
            </g>
          );
        })}
        <line className="eo-target" vectorEffect="non-scaling-stroke" x1={0} x2={WIDTH} y1={y(target)} y2={y(target)} />
        <path className="eo-line" d={lines.join("")} vectorEffect="non-scaling-stroke" />
        <path className="eo-line" d={dots.join("")} data-dots="" vectorEffect="non-scaling-stroke" />
      </svg>
      <figcaption>
        <span>{first ? day(first) : ""}</span>
        <span>
          <i className="eo-key" data-kind="line" /> on time <i className="eo-key" data-kind="target" /> target {percent(target, 0)}{" "}
          <i className="eo-key" data-kind="bar" /> ended <i className="eo-key" data-kind="late" /> late or failed
        </span>
        <span>{last ? day(last.day) : ""}</span>
      </figcaption>
    </figure>
  );
}

/** Where the time was lost. */
export function Lateness({ stacks }: { stacks: readonly StackLateness[] }) {
  if (stacks.length === 0) {
    return <p className="eo-quiet eo-pad">Nothing was late in these days.</p>;
  }
  const most = Math.max(...stacks.map(({ share }) => share), 0.001);
  return (
    <ul className="eo-bars">
      {stacks.map(({ stack, seconds, share }) => (
        <li key={stack.id}>
          <span>{stack.title}</span>
          <span aria-hidden className="eo-bar-track">
            <i style={{ inlineSize: `${(share / most) * 100}%` }} />
          </span>
          <span className="eo-number">{percent(share, 0)}</span>
          <span className="eo-number eo-quiet">{duration(seconds)}</span>
        </li>
      ))}
    </ul>
  );
}

/** A line as small as a word: a tendency, its values are told elsewhere. */
export function Spark({ values }: { values: readonly (number | null)[] }) {
  const known = values.flatMap((value) => (value === null ? [] : [value]));
  if (known.length < 2) {
    return null;
  }
  const low = Math.min(...known);
  const high = Math.max(...known);
  const points = values.flatMap((value, index) =>
    value === null
      ? []
      : [`${((index / (values.length - 1)) * 96 + 2).toFixed(1)},${(22 - ((value - low) / (high - low || 1)) * 20).toFixed(1)}`],
  );
  return (
    <svg aria-hidden className="eo-spark" preserveAspectRatio="none" viewBox="0 0 100 24">
      <polyline points={points.join(" ")} vectorEffect="non-scaling-stroke" />
    </svg>
  );
}
