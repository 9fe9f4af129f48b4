/**
 * Prints what JupyterLab loads of this extension at start (gzipped), and what it loads later, on first use.
 * Exits with an error when the start exceeds the budget. `--json` prints figures for programs.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

const BUDGET = 60_000;
const root = join(import.meta.dirname, '..', '..', 'labextension');
const files = readdirSync(join(root, 'static')).filter(name => name.endsWith('.js'));
const text = Object.fromEntries(files.map(name => [name, readFileSync(join(root, 'static', name), 'utf8')]));
const size = name => gzipSync(text[name], { level: 6 }).length;
const entry = files.find(name => name.startsWith('remoteEntry.'));

/**
 * The chunks that the container asks for when JupyterLab reads "./extension" and "./style": in the entry,
 * `./extension: () => Promise.all([e(868), e(139)]).then(...)`.
 */
function eager() {
  const ids = new Set();
  for (const module of ['./extension', './style']) {
    const from = text[entry].indexOf(`"${module}":`);
    if (from < 0) {
      continue;
    }
    const loader = text[entry].slice(from, text[entry].indexOf('.then', from));
    for (const [, id] of loader.matchAll(/\.e\("?(\w+)"?\)/g)) {
      ids.add(id);
    }
  }
  return [entry, ...files.filter(name => ids.has(name.split('.')[0]))];
}

const start = eager();
const sum = names => names.reduce((total, name) => total + size(name), 0);
const later = files.filter(name => !start.includes(name));
const figures = { start_gzip_bytes: sum(start), budget_bytes: BUDGET, later_gzip_bytes: sum(later) };
if (process.argv.includes('--json')) {
  console.log(JSON.stringify({ ...figures, files: Object.fromEntries(start.map(name => [name, size(name)])) }));
} else {
  const row = (name, bytes) => console.log(`${(bytes / 1000).toFixed(1).padStart(8)} kB  ${name}`);
  console.log('At start (gzipped):');
  start.forEach(name => row(name, size(name)));
  row(`in all; the budget is ${BUDGET / 1000} kB`, figures.start_gzip_bytes);
  console.log('On first use (gzipped):');
  later.sort((a, b) => size(b) - size(a)).forEach(name => row(name, size(name)));
}
process.exitCode = figures.start_gzip_bytes > BUDGET ? 1 : 0;
