import { render } from "@testing-library/react";
import { MemoryRouter, useLocation } from "react-router-dom";

import { Pages } from "../app";

function Address() {
  const { pathname, search } = useLocation();
  return <output data-testid="address">{pathname + search}</output>;
}

/** The pages, as the host shows them at an address. Layout does not exist here, so lists are told how high they are. */
export function show(address: string) {
  return render(
    <MemoryRouter initialEntries={[address]}>
      <Pages />
      <Address />
    </MemoryRouter>,
  );
}
