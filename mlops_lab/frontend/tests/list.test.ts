/** The list of runs keeps what the user loaded and shows what changed. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import type { RunRow } from '../src/contract';
import {
  comparisonOrder,
  EVERY,
  likelyExperiment,
  mergeFirstPage,
  mergeFresh,
  mergeNextPage,
  metricNames,
  shownExperiment
} from '../src/runs/list';

function run(id: string, start: number, change: Partial<RunRow> = {}): RunRow {
  return {
    run_id: id,
    name: id,
    experiment_id: '1',
    experiment: 'brain',
    status: 'FINISHED',
    start_time: start,
    end_time: start + 1,
    user: '',
    data: [],
    commit: '',
    dirty: null,
    metrics: {},
    params: {},
    link: '',
    ...change
  };
}

const ids = (runs: readonly RunRow[]) => runs.map(one => one.run_id).join(' ');

describe('pages', () => {
  test('a new first page comes before the older rows that were loaded', () => {
    const known = [run('c', 3), run('b', 2), run('a', 1)];
    assert.equal(ids(mergeFirstPage([run('d', 4), run('c', 3)], known, false)), 'd c b a');
  });

  test('a run deleted on the server leaves a list that is known whole', () => {
    assert.equal(ids(mergeFirstPage([run('c', 3)], [run('c', 3), run('b', 2)], true)), 'c');
  });

  test('a run deleted within the first page leaves a longer list too', () => {
    const known = [run('d', 4), run('c', 3), run('b', 2), run('a', 1)];
    assert.equal(ids(mergeFirstPage([run('d', 4), run('b', 2)], known, false)), 'd b a');
  });

  test('a further page brings no run twice', () => {
    assert.equal(ids(mergeNextPage([run('c', 3), run('b', 2)], [run('b', 2), run('a', 1)])), 'c b a');
  });

  test('fresh rows replace theirs and add none', () => {
    const merged = mergeFresh([run('b', 2, { status: 'RUNNING' }), run('a', 1)], [run('b', 2), run('x', 9)]);
    assert.equal(ids(merged), 'b a');
    assert.equal(merged[0]?.status, 'FINISHED');
  });
});

describe('choices', () => {
  test('a test metric is offered before validation, and both before the loss', () => {
    const rows = [
      run('a', 1, { metrics: { train_loss: 1, val_dice: 0.5 } }),
      run('b', 2, { metrics: { test_dice: 1 } })
    ];
    assert.deepEqual(metricNames(rows), ['test_dice', 'val_dice', 'train_loss']);
  });

  test("MLflow's own Default is shown only when it is all there is", () => {
    const standard = { experiment_id: '0', name: 'Default' };
    const brain = { experiment_id: '7', name: 'brain' };
    assert.equal(likelyExperiment([standard, brain]), brain);
    assert.equal(likelyExperiment([standard]), standard);
    assert.equal(likelyExperiment([]), null);
  });

  test('the chosen experiment is shown as long as the user may see it', () => {
    const mine = { experiment_id: '7', name: 'mine' };
    const shared = { experiment_id: '8', name: 'shared' };
    assert.equal(shownExperiment([mine, shared], '8'), '8');
    assert.equal(shownExperiment([mine], '8'), '7');
    assert.equal(shownExperiment([], '8'), null);
    assert.equal(shownExperiment([mine, shared], EVERY), EVERY);
    assert.equal(shownExperiment([mine], EVERY), '7');
  });

  test('the oldest run is the one that others are compared with', () => {
    const rows = [run('c', 3), run('b', 2), run('a', 1)];
    assert.deepEqual(comparisonOrder(rows, new Set(['c', 'a'])), ['a', 'c']);
  });
});
