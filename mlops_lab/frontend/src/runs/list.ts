/**
 * How pages, refreshed rows and choices of the runs list combine. Pure functions.
 */
import type { Experiment, RunRow } from '../contract';

/** Stands for the id of an experiment where the runs of all of them are meant. */
export const EVERY = 'every';

/** Is this run still changing? */
export function isLive(run: RunRow): boolean {
  return run.status === 'RUNNING' || run.status === 'SCHEDULED';
}

/** Put a newly read first page before the older rows that stand already. */
export function mergeFirstPage(page: readonly RunRow[], known: readonly RunRow[], complete: boolean): RunRow[] {
  if (complete) {
    return [...page];
  }
  const oldest = page.reduce((time, run) => Math.min(time, run.start_time), Infinity);
  const ids = new Set(page.map(run => run.run_id));
  return [...page, ...known.filter(run => !ids.has(run.run_id) && run.start_time <= oldest)];
}

/** Append a further page. */
export function mergeNextPage(known: readonly RunRow[], page: readonly RunRow[]): RunRow[] {
  const ids = new Set(known.map(run => run.run_id));
  return [...known, ...page.filter(run => !ids.has(run.run_id))];
}

/** Replace rows by their present state; the order stays. */
export function mergeFresh(known: readonly RunRow[], fresh: readonly RunRow[]): RunRow[] {
  const byId = new Map(fresh.map(run => [run.run_id, run]));
  return known.map(run => byId.get(run.run_id) ?? run);
}

/** Every metric that some run of the list has, the likeliest to be asked for first. */
export function metricNames(runs: readonly RunRow[]): string[] {
  const names = new Set(runs.flatMap(run => Object.keys(run.metrics)));
  return [...names].sort((a, b) => weight(b) - weight(a) || a.localeCompare(b));
}

/** The experiment to show when the user chose none: the newest, MLflow's own "Default" last. */
export function likelyExperiment(experiments: readonly Experiment[]): Experiment | null {
  return experiments.find(one => one.experiment_id !== '0') ?? experiments[0] ?? null;
}

/** The experiment to show: the one that the user chose, as long as there is such a choice. */
export function shownExperiment(experiments: readonly Experiment[], kept: string | null): string | null {
  const still = kept === EVERY ? experiments.length > 1 : experiments.some(one => one.experiment_id === kept);
  return still ? kept : (likelyExperiment(experiments)?.experiment_id ?? null);
}

/** Runs in the order in which they are compared: the oldest is what the others are measured against. */
export function comparisonOrder(runs: readonly RunRow[], ticked: ReadonlySet<string>): string[] {
  return runs
    .filter(run => ticked.has(run.run_id))
    .sort((a, b) => a.start_time - b.start_time)
    .map(run => run.run_id);
}

function weight(name: string): number {
  const words: [RegExp, number][] = [
    [/test/i, 8],
    [/val|valid|tune/i, 4],
    [/dice|auc|accuracy|f1|iou|score/i, 3],
    [/loss/i, 1],
    [/^system\//i, -8]
  ];
  return words.reduce((sum, [word, value]) => sum + (word.test(name) ? value : 0), 0);
}
