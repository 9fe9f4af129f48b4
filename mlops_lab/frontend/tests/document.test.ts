/** A saved comparison may be old, new, broken or hostile: it is drawn only when it can be drawn rightly. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { drawable, firstGap, mainVerdict, points, readComparison, runLabels } from '../src/comparison/document';
import type { RunRow } from '../src/contract';

const whole = { schema_version: 1, runs: [{ run_id: 'a' }], shared: [], params: [], metrics: [], curves: [] };

describe('reading', () => {
  test('a whole document is taken, and what it may lack is empty', () => {
    const read = readComparison(whole);
    assert.ok(typeof read === 'object');
    assert.deepEqual(read.notes, []);
  });

  test('a newer schema is said to be newer', () => {
    assert.equal(readComparison({ ...whole, schema_version: 2 }), 'newer');
  });

  for (const broken of [null, undefined, 7, 'text', {}, { ...whole, runs: [] }, { ...whole, curves: undefined }]) {
    test(`${JSON.stringify(broken)} is damaged`, () => assert.equal(readComparison(broken), 'damaged'));
  }
});

describe('preparing', () => {
  test('two runs of one name are told apart by their ids', () => {
    const runs = [
      { name: 'UNet', run_id: 'aaaaaaaaaa' },
      { name: 'UNet', run_id: 'bbbbbbbbbb' },
      { name: 'other', run_id: 'cccccccccc' }
    ] as RunRow[];
    assert.deepEqual(runLabels(runs), ['UNet (aaaaaa)', 'UNet (bbbbbb)', 'other']);
  });

  test('the verdict on the test data stands on top wherever it is listed', () => {
    const train = { role: 'train', same: false, statement: '' };
    const same = { role: 'test', same: true, statement: '' };
    assert.equal(mainVerdict([train, same]), same);
    assert.equal(mainVerdict([train]), train);
    assert.equal(mainVerdict([]), null);
  });

  test('NaN and the infinities leave gaps in a curve, not zeros', () => {
    assert.deepEqual(points([1, 2, 3, 4], [0.5, 'NaN', 'Infinity', 0]), [
      [1, 0.5],
      [2, null],
      [3, null],
      [4, 0]
    ]);
  });

  test('the first gap of a curve is named, so that it is not taken for an early end', () => {
    const series = {
      run_id: 'a',
      steps: [0, 5, 10],
      values: [1, 'Infinity', 'NaN'] as (number | 'NaN' | 'Infinity')[]
    };
    assert.deepEqual(firstGap(series), { step: 5, value: 'Infinity', count: 2 });
    assert.equal(firstGap({ ...series, values: [1, 0, -1] }), null);
  });

  test('a metric with one point per run gets no chart', () => {
    const single = { metric: 'test_dice', series: [{ run_id: 'a', steps: [0], values: [0.5] }] };
    const curve = { metric: 'loss', series: [{ run_id: 'a', steps: [0, 1], values: [2, 1] }] };
    assert.deepEqual(drawable([single, curve]), [curve]);
  });
});
