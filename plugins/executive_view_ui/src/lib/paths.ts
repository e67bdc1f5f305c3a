import { PAGES_ROUTE } from "../names";
import { written } from "./view";

/** Addresses of our own pages, for links within the host. */
export const paths = {
  overview: () => PAGES_ROUTE,
  instances: (query: object = {}) => withQuery(`${PAGES_ROUTE}/instances`, query),
  instance: (dagId: string, runId: string, query: object = {}) =>
    withQuery(`${PAGES_ROUTE}/instance/${encodeURIComponent(dagId)}/${encodeURIComponent(runId)}`, query),
  stream: (dagId: string, query: object = {}) => withQuery(`${PAGES_ROUTE}/stream/${encodeURIComponent(dagId)}`, query),
  audit: (query: object = {}) => withQuery(`${PAGES_ROUTE}/audit`, query),
  print: (query: object = {}) => withQuery(`${PAGES_ROUTE}/print`, query),
};

function withQuery(path: string, query: object): string {
  const search = written(query);
  return search ? `${path}?${search}` : path;
}

export type Place =
  | { page: "overview" | "instances" | "audit" | "print" | "unknown" }
  | { page: "instance"; dagId: string; runId: string }
  | { page: "stream"; dagId: string };

/** Which page an address means; whatever base path the host has in front of it. */
export function placeOf(pathname: string): Place {
  const at = pathname.indexOf(PAGES_ROUTE);
  const rest = at < 0 ? "" : pathname.slice(at + PAGES_ROUTE.length);
  const [page = "", first = "", second = ""] = rest.split("/").filter(Boolean).map(decoded);
  if (page === "instance" && first && second) {
    return { page, dagId: first, runId: second };
  }
  if (page === "stream" && first) {
    return { page, dagId: first };
  }
  if (page === "instances" || page === "audit" || page === "print") {
    return { page };
  }
  return { page: page === "" ? "overview" : "unknown" };
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
