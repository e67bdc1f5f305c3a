import { Link } from "react-router-dom";

import { useOverview } from "../api/queries";
import { count, percent } from "../lib/format";
import { paths } from "../lib/paths";
import { level } from "../lib/words";
import { AsOf } from "../ui/parts";
import { Icon } from "../ui/icons";
import { Shown, trouble } from "../ui/states";

/** All streams in one line, on the home page of the host. Who sees no stream sees no strip. */
export function Strip() {
  const asked = useOverview({});
  if (asked.data?.streams.length === 0 || (asked.isPending && !asked.error)) {
    return null;
  }
  return (
    <section aria-label="Streams" className="eo eo-strip">
      <Shown asked={asked}>
        {(data) => {
          const look = level(data.level);
          return (
            <>
              <p data-tone={look.tone}>
                <span className="eo-lamp" title={look.text}>
                  <Icon name={look.icon} />
                  <span className="eo-hidden">{look.text}</span>
                </span>
                <span>{data.sentence}</span>
              </p>
              <ul>
                <li>
                  On time <b>{percent(data.on_time_share)}</b>
                </li>
                <li>
                  <Link to={paths.instances({ live: true })}>
                    Live <b>{count(data.counts.live)}</b>
                  </Link>
                </li>
                <li>
                  <Link to={paths.instances({ live: true, health: ["at_risk"] })}>
                    At risk <b data-tone={data.counts.at_risk > 0 ? "risk" : undefined}>{count(data.counts.at_risk)}</b>
                  </Link>
                </li>
                <li>
                  <Link to={paths.instances({ live: true, health: ["late"] })}>
                    Late <b data-tone={data.counts.late > 0 ? "late" : undefined}>{count(data.counts.late)}</b>
                  </Link>
                </li>
                <li>
                  <Link to={paths.overview()}>All streams</Link>
                </li>
              </ul>
              <AsOf at={data.fed_at ?? data.as_of} trouble={trouble(asked) ?? (data.stale ? "older than it should be" : undefined)} />
            </>
          );
        }}
      </Shown>
    </section>
  );
}
