import { useEffect } from "react";
import { createPortal } from "react-dom";
import { Link, useSearchParams } from "react-router-dom";

import { useOverview } from "../api/queries";
import { count, exactly } from "../lib/format";
import { paths } from "../lib/paths";
import { overviewQuery } from "../lib/view";
import { Lateness, Trend } from "../ui/charts";
import { Icon } from "../ui/icons";
import { Shown, Skeleton } from "../ui/states";
import { Sentence, StreamTable, Tiles } from "./overview";

/** How many streams fit on the page with the rest. */
const ROWS = 14;

/**
 * One page for the board. It stands beside the host's page and not within it: the host's scrolling boxes would cut it off
 * at the height of the window.
 */
export default function Print() {
  const [params] = useSearchParams();
  const query = overviewQuery(params);
  const asked = useOverview(query);
  useEffect(() => {
    document.documentElement.dataset["eoPrint"] = "";
    return () => {
      delete document.documentElement.dataset["eoPrint"];
    };
  }, []);
  return createPortal(
    <main className="eo eo-print">
      <nav aria-label="Print" className="eo-print-bar">
        <Link className="eo-button" to={paths.overview()}>
          Back
        </Link>
        <button className="eo-button" onClick={() => globalThis.print()} type="button">
          <Icon name="print" /> Print, or save as PDF
        </button>
        <span className="eo-quiet">One page, A4 or Letter, upright.</span>
      </nav>
      <Shown asked={asked} skeleton={<Skeleton rows={10} tiles={5} />}>
        {(data) => (
          <article className="eo-sheet">
            <header>
              <h1>Value streams</h1>
              <span>{exactly(data.fed_at ?? data.as_of)}</span>
            </header>
            <Sentence data={data} />
            <Tiles data={data} query={query} />
            <StreamTable plain streams={data.streams.slice(0, ROWS)} />
            {data.streams.length > ROWS ? (
              <p className="eo-quiet">
                The {ROWS} that need most attention, of {count(data.streams.length)}.
              </p>
            ) : null}
            <div className="eo-columns">
              <section>
                <h2>On time, last 30 days</h2>
                <Trend days={data.trend} />
              </section>
              <section>
                <h2>Where time was lost</h2>
                <Lateness stacks={data.lateness_by_stack} />
              </section>
            </div>
          </article>
        )}
      </Shown>
    </main>,
    document.body,
  );
}
