import { cleanup, configure } from "@testing-library/react";
import { afterAll, afterEach, beforeAll } from "vitest";

import { queries } from "../app";
import { server } from "./server";

// Nothing is laid out here: a list has to be told that it has a height.
for (const side of ["offsetHeight", "offsetWidth", "clientHeight", "clientWidth"]) {
  Object.defineProperty(HTMLElement.prototype, side, { configurable: true, get: () => 800 });
}
Object.defineProperty(HTMLElement.prototype, "scrollHeight", { configurable: true, get: () => 10_000_000 });
HTMLElement.prototype.scrollTo = function scrollTo(this: HTMLElement, options?: ScrollToOptions | number) {
  this.scrollTop = typeof options === "object" ? (options.top ?? 0) : 0;
  queueMicrotask(() => this.dispatchEvent(new Event("scroll")));
};
// A busy machine takes its time; what does not come at all is told as well.
configure({ asyncUtilTimeout: 15_000, getElementError: (message) => new Error(message ?? "not found") });

beforeAll(() => {
  document.documentElement.lang = "en-GB";
  globalThis.localStorage.setItem("timezone", '"UTC"');
  // What a test has not foreseen is no answer but a mistake.
  server.listen({ onUnhandledFrame: "error" });
});
afterEach(() => {
  cleanup();
  queries.clear();
  server.resetHandlers();
});
afterAll(() => server.close());
