/** Where a new cell goes: never over the user's work, never without the cell that loads the extension. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { fingerprint, ICellSketch, IPlan, isSetup, plan } from '../src/notebook/plan';

const SETUP = '%load_ext mlops_lab';
const code = (source: string): ICellSketch => ({ type: 'code', source });
const text = (source: string): ICellSketch => ({ type: 'markdown', source });

/** Carry a plan out on plain arrays, as the notebook does. */
function carryOut(cells: readonly ICellSketch[], active: number, steps: IPlan): string[] {
  const all = cells.map(cell => ({ ...cell }));
  const here = all[active];
  for (const edit of steps.edits) {
    if (edit.insert) {
      all.splice(edit.index, 0, code(edit.source));
    } else {
      assert.ok(here);
      assert.equal(all.indexOf(here), edit.index);
      here.source = edit.source;
    }
  }
  const sources = all.map(cell => cell.source);
  assert.equal(sources[steps.body], 'train');
  assert.ok(all[steps.setup] && isSetup(all[steps.setup]!));
  return sources;
}

function planned(cells: readonly ICellSketch[], active: number, replace = false): string[] {
  return carryOut(cells, active, plan(cells, active, SETUP, 'train', replace));
}

describe('a new cell', () => {
  test('stands under the active one, with the setup cell above it when there is none', () => {
    assert.deepEqual(planned([text('# Title'), code('x = 1'), code('y = 2')], 1), [
      '# Title',
      'x = 1',
      SETUP,
      'train',
      'y = 2'
    ]);
  });

  test('brings no second setup cell, wherever the first one stands', () => {
    assert.deepEqual(planned([code(SETUP), code('x = 1')], 1), [SETUP, 'x = 1', 'train']);
    assert.deepEqual(planned([code('x = 1'), code(SETUP)], 0), ['x = 1', 'train', SETUP]);
  });

  test('takes the place of an empty cell instead of leaving it behind', () => {
    assert.deepEqual(planned([code('')], 0), [SETUP, 'train']);
    assert.deepEqual(planned([code(SETUP), code('  \n')], 1), [SETUP, 'train']);
    assert.deepEqual(planned([code(''), code(SETUP)], 0), ['train', SETUP]);
  });

  test('does not take the place of an empty Markdown cell', () => {
    assert.deepEqual(planned([text('')], 0), ['', SETUP, 'train']);
  });

  test('opens a notebook that has no cell at all', () => {
    assert.deepEqual(planned([], -1), [SETUP, 'train']);
  });
});

describe('an updated cell', () => {
  test('keeps its place', () => {
    assert.deepEqual(planned([code(SETUP), code('old'), code('z')], 1, true), [SETUP, 'train', 'z']);
  });

  test('gets its setup cell back when the user removed it', () => {
    assert.deepEqual(planned([code('a'), code('old')], 1, true), ['a', SETUP, 'train']);
  });
});

describe('recognising cells', () => {
  test('a setup cell may hold more lines; a comment or a Markdown cell is none', () => {
    assert.ok(isSetup(code('import os\n%load_ext mlops_lab\n')));
    assert.ok(isSetup(code('%reload_ext mlops_lab')));
    assert.ok(!isSetup(code('# %load_ext mlops_lab')));
    assert.ok(!isSetup(code('%load_ext mlops_labels')));
    assert.ok(!isSetup(text('%load_ext mlops_lab')));
  });

  test('the fingerprint changes with any edit', () => {
    assert.equal(fingerprint('lr = 0.1'), fingerprint('lr = 0.1'));
    assert.notEqual(fingerprint('lr = 0.1'), fingerprint('lr = 0.2'));
    assert.notEqual(fingerprint('ab'), fingerprint('ba'));
  });
});
