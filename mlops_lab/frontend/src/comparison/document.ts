/**
 * Reads a comparison document, which may come from anybody's notebook, and prepares it for drawing. Pure functions.
 */
import type { Comparison, Curve, RunRow, SharedData, WireNumber } from '../contract';
import { fromWire } from '../format';

/** The newest document that this front end can draw. */
export const SCHEMA_VERSION = 1;

/** Give the document, or why it cannot be drawn. */
export function readComparison(data: unknown): Comparison | 'newer' | 'damaged' {
  const fields = data as Partial<Comparison> | null | undefined;
  if (typeof fields !== 'object' || fields === null || typeof fields.schema_version !== 'number') {
    return 'damaged';
  }
  if (fields.schema_version > SCHEMA_VERSION) {
    return 'newer';
  }
  const lists = [fields.runs, fields.shared, fields.params, fields.metrics, fields.curves];
  const whole = lists.every(Array.isArray) && fields.runs!.length > 0;
  return whole ? ({ notes: [], created: '', server: '', ...fields } as Comparison) : 'damaged';
}

/** How each run is called on the screen: its name, with the id's head where two share a name. */
export function runLabels(runs: readonly RunRow[]): string[] {
  const names = runs.map(run => run.name || run.run_id.slice(0, 8));
  return names.map((name, index) =>
    names.indexOf(name) === names.lastIndexOf(name) ? name : `${name} (${runs[index]!.run_id.slice(0, 6)})`
  );
}

/** The datasets of a run in words, e.g. `brain@v2.0.0`. */
export function dataOf(run: RunRow): string {
  return run.data.map(used => `${used.name}@${used.version}`).join(', ');
}

/** The one verdict that stands on top: the test role's, else the first. */
export function mainVerdict(shared: readonly SharedData[]): SharedData | null {
  return shared.find(one => one.role === 'test') ?? shared[0] ?? null;
}

/** Points of one run for a chart; what is no finite number leaves a gap. */
export function points(steps: readonly number[], values: readonly Curve['series'][number]['values'][number][]) {
  return steps.map((step, index): [number, number | null] => {
    const value = fromWire(values[index] ?? 'NaN');
    return [step, Number.isFinite(value) ? value : null];
  });
}

/** Where a series leaves the finite numbers: a gap that the eye takes for an early end. Null where it never does. */
export function firstGap(series: Curve['series'][number]): { step: number; value: WireNumber; count: number } | null {
  const gaps = series.values.flatMap((value, index) => (Number.isFinite(fromWire(value)) ? [] : [index]));
  const first = gaps[0];
  return first === undefined
    ? null
    : { step: series.steps[first] ?? first, value: series.values[first]!, count: gaps.length };
}

/** Curves that deserve a chart: a single point per run is in the table already. */
export function drawable(curves: readonly Curve[]): Curve[] {
  return curves.filter(curve => curve.series.some(series => series.steps.length > 1));
}
