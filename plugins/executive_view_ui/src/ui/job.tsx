import type { RemoteJob } from "../api/schema";
import { verdict, type Look } from "../lib/words";
import { Icon } from "./icons";
import { Badge } from "./parts";

const OVER_THERE: Record<string, Look> = {
  held: { tone: "wait", icon: "pause", text: "Held over there" },
  waiting: { tone: "idle", icon: "clock", text: "Waits over there" },
};

/** How a remote job stands. Of one that does not get on, where it is over there is what people must know first. */
export function JobBadge({ job }: { job: RemoteJob }) {
  return <Badge look={job.parked ? verdict("parked") : (OVER_THERE[job.phase ?? ""] ?? verdict(job.verdict ?? job.state))} plain />;
}

/** What its system calls it; where the deployment has said so, a way to the system's own page. */
export function JobId({ job, none = "–" }: { job: Pick<RemoteJob, "job_id" | "link">; none?: string }) {
  const name = <b>{job.job_id ?? none}</b>;
  return job.link ? (
    <a href={job.link} rel="noreferrer" target="_blank">
      {name} <Icon name="link" size={12} />
      <span className="eo-hidden">, shown by its own system</span>
    </a>
  ) : (
    name
  );
}

/** How it ended, or why it does not get on, in the system's own words; "" where there is nothing to say. */
export const saidOf = ({ code, rc, phase, reason }: RemoteJob): string =>
  code ?? (rc === null || rc === undefined ? (phase ? (reason ?? "") : "") : `return code ${rc}`);
