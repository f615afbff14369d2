// The ratios as an SVG picture: a bar a workload and kind of table, a line where plain SQLite is.
// No dependency, and colours that both light and dark pages can carry.
import { shapes } from "./lib.mjs";

const width = 860;
const left = 330;
const right = 60;
const barHeight = 11;
const groupGap = 14;
const headHeight = 58;
const sectionHeight = 34;
const colours = ["#3b82f6", "#f59e0b", "#10b981"];

const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;");

/** `sections` are [title, results] pairs, results as of `ratioTable`. */
export function chart(sections) {
  const names = Object.keys(Object.values(sections[0][1])[0]);
  const ratios = sections.flatMap(([, results]) =>
    Object.values(results).flatMap((row) => Object.values(row)),
  );
  const ceiling = Math.ceil(Math.max(...ratios, 1.5) * 4) / 4;
  const x = (ratio) => left + (Math.min(ratio, ceiling) / ceiling) * (width - left - right);
  const parts = [legend(names)];
  let y = headHeight;
  for (const [title, results] of sections) {
    parts.push(`<text class="section" x="12" y="${y + 14}">${escaped(title)}</text>`);
    y += sectionHeight;
    for (const [workload, row] of Object.entries(results)) {
      parts.push(group(workload, names, row, y, x));
      y += names.length * barHeight + groupGap;
    }
  }
  const one = x(1).toFixed(1);
  parts.push(`<line class="one" x1="${one}" x2="${one}" y1="${headHeight - 8}" y2="${y}"/>`);
  parts.push(`<text class="label" x="${one}" y="${y + 14}" text-anchor="middle">1.0</text>`);
  return svg(y + 26, parts);
}

function legend(names) {
  return names
    .map((name, i) => {
      const at = left + i * 150;
      return `<rect x="${at}" y="24" width="11" height="11" rx="2" fill="${colours[i]}"/>
<text class="label" x="${at + 17}" y="34">${escaped(shapes[name].title)}</text>`;
    })
    .join("\n");
}

function group(workload, names, row, y, x) {
  const middle = y + (names.length * barHeight) / 2 + 4;
  const bars = names.map((name, i) => {
    const top = y + i * barHeight;
    const end = x(row[name]);
    const size = `width="${(end - left).toFixed(1)}" height="${barHeight - 2}"`;
    return `<rect x="${left}" y="${top}" ${size} rx="2" fill="${colours[i]}"/>
<text class="value" x="${(end + 5).toFixed(1)}" y="${top + 8}">${row[name].toFixed(2)}</text>`;
  });
  const place = `x="${left - 10}" y="${middle}" text-anchor="end"`;
  return `<text class="label" ${place}>${escaped(workload)}</text>
${bars.join("\n")}`;
}

function svg(height, parts) {
  const label = "Time relative to plain SQLite, by workload and kind of table";
  const box = `viewBox="0 0 ${width} ${height}"`;
  return `<svg xmlns="http://www.w3.org/2000/svg" ${box} role="img" aria-label="${label}">
<style>
text { font: 12px system-ui, sans-serif; fill: #1f2937; }
.section { font-weight: 600; font-size: 13px; }
.value { font-size: 10px; fill: #6b7280; }
.one { stroke: #6b7280; stroke-dasharray: 4 3; }
@media (prefers-color-scheme: dark) {
  text { fill: #e5e7eb; }
  .value { fill: #9ca3af; }
  .one { stroke: #9ca3af; }
}
</style>
<text x="12" y="34">Time, plain SQLite = 1.0</text>
${parts.join("\n")}
</svg>
`;
}
