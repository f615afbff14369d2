/** The dashboards for Grafana that come with the package. */
import { readFileSync } from "node:fs";

export const dashboards = ["grafana-dashboard.json", "grafana-backup-dashboard.json"] as const;

/** What its panels ask Prometheus for. */
export function expressionsOf(dashboard: (typeof dashboards)[number]): string[] {
  const path = new URL(`../../docs/${dashboard}`, import.meta.url);
  const { panels } = JSON.parse(readFileSync(path, "utf8")) as {
    panels: { targets?: { expr: string }[] }[];
  };
  return panels.flatMap(({ targets = [] }) =>
    targets.map(({ expr }) => expr.replaceAll("$__rate_interval", "5m")),
  );
}

/** The families of metrics that it shows. */
export function familiesOf(dashboard: (typeof dashboards)[number]): Set<string> {
  const names = expressionsOf(dashboard).flatMap((text) => text.match(/mergelite_[a-z_]+/g) ?? []);
  return new Set(names.map((name) => name.replace(/_(total|bucket|sum|count)$/, "")));
}
