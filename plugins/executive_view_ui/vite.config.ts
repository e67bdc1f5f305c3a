/// <reference types="vitest/config" />
import { defineConfig, type Plugin, type UserConfig } from "vite";

/** What Airflow's own UI puts on `globalThis` for plugins: using its copies saves 60 kB and shares its router. */
const HOST: Record<string, string> = {
  react: "React",
  "react-dom": "ReactDOM",
  "react/jsx-runtime": "ReactJSXRuntime",
  "react-router-dom": "ReactRouterDOM",
};

/**
 * Serves each of these as a module that hands on what is on `globalThis`: output as ES modules has no `globals` option.
 * The names come from the installed copy, whose version is the host's.
 */
function hostModules(): Plugin {
  return {
    name: "airflow-host-modules",
    enforce: "pre",
    resolveId: (id) => (id in HOST ? `\0host:${id}` : null),
    async load(id) {
      if (!id.startsWith("\0host:")) {
        return null;
      }
      const module = id.slice("\0host:".length);
      const names = Object.keys((await import(module)) as object).filter(
        (name) => name !== "default" && name !== "module.exports" && /^[A-Za-z_$][\w$]*$/.test(name),
      );
      const handed = names.map((name) => `export const ${name} = /*#__PURE__*/ (() => host.${name})();`);
      return {
        moduleSideEffects: false,
        code: [`const host = globalThis.${HOST[module]};`, "export default host;", ...handed].join("\n"),
      };
    },
  };
}

const airflow = process.env.AIRFLOW_URL ?? "http://127.0.0.1:8080";

export default defineConfig(({ command, mode }): UserConfig => ({
  base: "./",
  define: { "process.env.NODE_ENV": JSON.stringify(command === "build" ? "production" : "development") },
  plugins: command === "build" && mode !== "standalone" ? [hostModules()] : [],
  // The standalone page of `npm run dev` talks to a running Airflow.
  server: { host: "127.0.0.1", proxy: { "/enterprise-orch": airflow, "/auth": airflow } },
  build: {
    outDir: "dist",
    target: "es2022",
    modulePreload: false,
    chunkSizeWarningLimit: 400,
    rolldownOptions: {
      // Not the library mode, which neither splits nor minifies. The host imports main.js by name.
      input: "src/main.tsx",
      preserveEntrySignatures: "strict",
      output: {
        format: "es",
        entryFileNames: "main.js",
        chunkFileNames: "chunks/[name]-[hash].js",
        assetFileNames: "chunks/[name]-[hash][extname]",
      },
    },
  },
  test: { environment: "happy-dom", include: ["src/**/*.test.{ts,tsx}"], setupFiles: ["src/testing/setup.ts"], testTimeout: 60_000, isolate: false },
}));
