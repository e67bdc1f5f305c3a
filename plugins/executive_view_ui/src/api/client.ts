import createClient from "openapi-fetch";

import type { paths } from "./schema";

/** Where our API is: below the base path that the host was mounted at. */
export const BASE = new URL("enterprise-orch", document.baseURI).href;

/** An answer that is none; `detail` is for people. */
export class ApiProblem extends Error {
  constructor(
    readonly status: number,
    readonly detail: string,
  ) {
    super(detail);
  }
}

export const client = createClient<paths>({
  baseUrl: BASE,
  // Looked up at each call, so that tests can stand in between.
  fetch: (request) => globalThis.fetch(request),
});

client.use({
  async onResponse({ response }) {
    if (response.ok) {
      return;
    }
    let detail = response.statusText || `The server answered with status ${response.status}.`;
    try {
      const body: unknown = await response.clone().json();
      if (typeof body === "object" && body !== null && "detail" in body && typeof body.detail === "string") {
        detail = body.detail;
      }
    } catch {
      // no JSON: a proxy's page, perhaps
    }
    throw new ApiProblem(response.status, detail);
  },
});

/**
 * The data of an answer; every other end has been thrown already. Where nothing changed the browser hands out what it kept:
 * of which moment that is true by now, only the header says.
 */
export async function answer<Data>(call: Promise<{ data?: Data; response: Response }>): Promise<Data> {
  const { data, response } = await call;
  if (data === undefined) {
    throw new ApiProblem(0, "The server's answer was empty.");
  }
  const moment = response.headers.get("X-As-Of");
  if (moment !== null && typeof data === "object" && data !== null) {
    for (const name of ["as_of", "fed_at"] as const) {
      if (name in data && (data as Record<string, unknown>)[name] !== null) {
        (data as Record<string, unknown>)[name] = moment;
      }
    }
  }
  return data;
}
