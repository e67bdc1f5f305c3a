/**
 * What is drawn to scale.
 *
 * How a user would notice that it is fake: the bars of an hour are a thin line because the due time is tomorrow, the due
 * time stands where it is not or nowhere, or a day with a share between two without one is not to be seen.
 */

import { render } from "@testing-library/react";
import { expect, test } from "vitest";

import type { Timeline, TrendDay } from "../api/schema";
import * as samples from "../testing/samples";
import { Trend } from "./charts";
import { Gantt } from "./gantt";

const TOLD = samples.instance().timeline;
const BEGAN = Date.parse(TOLD.start!);
const after = (minutes: number) => new Date(BEGAN + minutes * 60_000).toISOString();

/** An instance whose one step ran for an hour. */
const ran = (due: number | null): Timeline => ({
  ...TOLD,
  now: after(600),
  due_at: due === null ? null : after(due),
  bars: [{ ...TOLD.bars[0]!, state: "success", plan_start: null, plan_end: null, start: after(0), end: after(60), forecast_start: null, forecast_end: null, forecast_end_p90: null }],
});

const drawn = (due: number | null) => {
  const { container } = render(<Gantt timeline={ran(due)} />);
  const one = (selector: string) => container.querySelector<HTMLElement>(selector);
  const [bar, line] = [one("li .eo-g-actual")!, one(".eo-due")];
  return { left: parseFloat(bar.style.left), width: parseFloat(bar.style.width), due: line && parseFloat(line.style.left), said: line?.textContent };
};

test.each([
  ["after all of it", 100, 0, 58.3, 97.1],
  ["while it ran", 30, 0, 97.1, 48.5],
  ["before it began", -60, 48.5, 48.5, 0],
])("a due time that is near is drawn where it is: %s", (_, due, left, width, at) => {
  const got = drawn(due);
  expect([got.left, got.width, got.due].map((number) => Number(number!.toFixed(1)))).toEqual([left, width, at]);
  expect(got.said).toMatch(/^due \S/u);
});

test.each([
  ["a day later", 1440, 90.9, 100, /^due .+ →$/u],
  ["the day before", -1440, 97.1, 0, /^← due /u],
])("one that is far stands at the edge, and what happens is still to be seen: %s", (_, due, width, at, said) => {
  const got = drawn(due);
  expect([got.left, Number(got.width.toFixed(1)), got.due]).toEqual([0, width, at]);
  expect(got.said).toMatch(said);
});

test("without a due time there is no line for it", () => {
  expect(drawn(null).due).toBeNull();
});

test("a day with a share between two without one is a dot, and days in a row are a line", () => {
  const day: TrendDay = { ...samples.overview().trend[0]!, ended: 1 };
  const days = [0.9, null, 1, null, 0.9, 1].map((share, index) => ({ ...day, day: `2026-11-0${index + 1}`, on_time_share: share }));
  const { container } = render(<Trend days={days} />);
  expect(container.querySelector("[data-dots]")!.getAttribute("d")).toMatch(/^M50\.0 \S+h0M250\.0 \S+h0$/u);
  expect(container.querySelector(".eo-line")!.getAttribute("d")).toMatch(/M450\.0 \S+L550\.0 \S+$/u);
});
