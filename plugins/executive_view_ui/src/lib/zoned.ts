/** Moments as people type them: in the zone that they chose in the host, not in that of their machine. */

import { zone } from "./format";

/** The zone that moments are typed in, and how far it is from UTC at that moment: "Europe/Berlin, UTC+1". */
export function zoneName(at: Date = new Date()): string {
  const name = zone() ?? new Intl.DateTimeFormat().resolvedOptions().timeZone;
  const minutes = offset(name, at.getTime()) / 60_000;
  if (minutes === 0) {
    return name === "UTC" ? name : `${name}, UTC`;
  }
  const [hours, rest] = [Math.floor(Math.abs(minutes) / 60), Math.abs(minutes) % 60];
  return `${name}, UTC${minutes < 0 ? "−" : "+"}${hours}${rest ? `:${String(rest).padStart(2, "0")}` : ""}`;
}

/** What a field for a date and a time holds ("2026-03-10T16:00") as a moment; undefined while it is none. */
export function fromField(text: string): string | undefined {
  const wall = Date.parse(`${text}Z`);
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d/u.test(text) || Number.isNaN(wall)) {
    return undefined;
  }
  const name = zone() ?? new Intl.DateTimeFormat().resolvedOptions().timeZone;
  // Where clocks are put forward or back the first guess can lie on the other side.
  const guess = wall - offset(name, wall);
  return new Date(wall - offset(name, guess)).toISOString().replace(".000Z", "Z");
}

/** A moment as such a field holds it. */
export function toField(moment: string | Date): string {
  const at = new Date(moment).getTime();
  const name = zone() ?? new Intl.DateTimeFormat().resolvedOptions().timeZone;
  return new Date(at + offset(name, at)).toISOString().slice(0, 16);
}

const parts = new Map<string, Intl.DateTimeFormat>();

/** By how many milliseconds the clocks of a zone are before UTC at a moment. */
function offset(name: string, at: number): number {
  let format = parts.get(name);
  if (format === undefined) {
    const numeric = { year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric" } as const;
    format = new Intl.DateTimeFormat("en-US", { timeZone: name, hourCycle: "h23", ...numeric });
    parts.set(name, format);
  }
  const said = Object.fromEntries(format.formatToParts(new Date(at)).map(({ type, value }) => [type, Number(value)]));
  const wall = Date.UTC(said["year"]!, said["month"]! - 1, said["day"], said["hour"], said["minute"], said["second"]);
  return wall - Math.floor(at / 1000) * 1000;
}

/** At this hour of the next day on which it is still to come. */
export function nextAt(hour: number, now: Date = new Date()): Date {
  for (const days of [0, 1, 2]) {
    const day = toField(new Date(now.getTime() + days * 86_400_000)).slice(0, 10);
    const at = new Date(fromField(`${day}T${String(hour).padStart(2, "0")}:00`) ?? now);
    if (at > now) {
      return at;
    }
  }
  return now;
}
