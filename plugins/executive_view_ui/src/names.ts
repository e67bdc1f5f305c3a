/**
 * The parts of the host that show us. Each name is a `react_apps[].name` of the Python plugin (`executive_view/pages.py`),
 * because the host looks for a component by that name on `globalThis`; a test compares the two.
 */
export const PAGES = "Streams";
export const STREAM_TAB = "Value stream";
export const INSTANCE_TAB = "Stream instance";
export const STRIP = "Streams at a glance";

/** Where the pages live below the host's own base path. */
export const PAGES_ROUTE = "/plugin/streams";
