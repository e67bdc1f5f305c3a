import { useEffect, useRef, useState, type ReactNode } from "react";
import { Link, useNavigate } from "react-router-dom";

import { paths } from "../lib/paths";
import { Icon } from "../ui/icons";

const PAGES = [
  { id: "overview", title: "Overview", to: paths.overview() },
  { id: "instances", title: "Instances", to: paths.instances({ live: true }) },
  { id: "audit", title: "Audit", to: paths.audit() },
] as const;

/** What all pages have: the way to the others, and a search that leads straight to an order or a policy. */
export function Frame({ page, children }: { page: string; children: ReactNode }) {
  const search = useRef<HTMLInputElement>(null);
  const [help, setHelp] = useState(false);
  const navigate = useNavigate();

  useEffect(() => {
    const onKeyDown = (event: KeyboardEvent) => {
      const target = event.target;
      const typing = target instanceof HTMLElement && (target.isContentEditable || /^(?:INPUT|TEXTAREA|SELECT)$/u.test(target.tagName));
      if (typing || event.ctrlKey || event.metaKey || event.altKey) {
        return;
      }
      if (event.key === "/") {
        event.preventDefault();
        search.current?.focus();
      } else if (event.key === "?") {
        setHelp((shown) => !shown);
      } else if (event.key === "Escape") {
        setHelp(false);
      }
    };
    document.addEventListener("keydown", onKeyDown);
    return () => document.removeEventListener("keydown", onKeyDown);
  }, []);

  return (
    <div className="eo">
      <div className="eo-top">
        <nav aria-label="Streams">
          {PAGES.map(({ id, title, to }) => (
            <Link
              aria-current={id === page ? "page" : undefined}
              data-within={(page === "instance" && id === "instances") || (page === "stream" && id === "overview")}
              key={id}
              to={to}
            >
              {title}
            </Link>
          ))}
        </nav>
        <form
          className="eo-search"
          onSubmit={(event) => {
            event.preventDefault();
            void navigate(paths.instances({ q: search.current?.value.trim() ?? "" }));
            search.current?.blur();
          }}
          role="search"
        >
          <Icon name="search" />
          <input aria-label="Find an instance by its business key" placeholder="Find a business key" ref={search} type="search" />
          <kbd>/</kbd>
        </form>
        <button aria-expanded={help} aria-label="Keys" className="eo-button eo-square" onClick={() => setHelp(!help)} type="button">
          <Icon name="help" />
        </button>
      </div>
      {help ? <Keys close={() => setHelp(false)} /> : null}
      {children}
    </div>
  );
}

const KEYS: readonly (readonly [string, string])[] = [
  ["/", "Find a business key"],
  ["j  k", "Next and previous row, or the arrow keys"],
  ["Enter", "Open"],
  ["x", "Select the row, for who may act on it"],
  ["← → ↑ ↓", "From step to step in the graph"],
  ["Esc", "Close what is open"],
  ["?", "These keys"],
];

function Keys({ close }: { close: () => void }) {
  return (
    <aside aria-label="Keys" className="eo-keys">
      <dl>
        {KEYS.map(([key, meaning]) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{meaning}</dd>
          </div>
        ))}
      </dl>
      <button className="eo-text" onClick={close} type="button">
        Close
      </button>
    </aside>
  );
}
