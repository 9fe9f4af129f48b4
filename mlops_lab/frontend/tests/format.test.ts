/** What people read must be what was measured: numbers, differences, sizes and times. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { age, bytes, difference, duration, fromWire, metric, tick, webLink } from '../src/format';

describe('wire numbers', () => {
  test('NaN and the infinities come back from their names', () => {
    assert.ok(Number.isNaN(fromWire('NaN')));
    assert.equal(fromWire('Infinity'), Infinity);
    assert.equal(fromWire('-Infinity'), -Infinity);
    assert.equal(fromWire(0.25), 0.25);
  });
});

describe('metrics', () => {
  const shown: [Parameters<typeof metric>[0], string][] = [
    [0.821345, '0.8213'],
    [0, '0'],
    [1, '1'],
    [-0.5, '−0.5000'],
    [12345.678, '12345.7'],
    [0.00001234, '1.234e−5'],
    [-0.00002, '−2e−5'],
    [123456789.5, '1.235e8'],
    ['NaN', 'NaN'],
    ['Infinity', '∞'],
    ['-Infinity', '−∞'],
    [null, '–'],
    [undefined, '–']
  ];
  for (const [value, text] of shown) {
    test(`${value} reads ${text}`, () => assert.equal(metric(value), text));
  }

  test('an axis tick carries no closing zeros', () => {
    assert.equal(tick(0.81), '0.81');
    assert.equal(tick(2), '2');
    assert.equal(tick(100), '100');
    assert.equal(tick(-0.5), '−0.5');
  });

  test('a difference has a sign, and none is claimed where a value is missing or NaN', () => {
    assert.equal(difference(0.74, 0.79), '+0.05000');
    assert.equal(difference(0.79, 0.74), '−0.05000');
    assert.equal(difference(1, 1), '0');
    assert.equal(difference('NaN', 0.5), '–');
    assert.equal(difference('Infinity', 'Infinity'), '–');
    assert.equal(difference(null, 0.5), '–');
  });

  test('a difference that is only floating-point dust reads as zero', () => {
    assert.equal(difference(0.3, 0.1 + 0.2), '0');
  });
});

describe('sizes and times', () => {
  test('bytes keep at most three digits and the right unit', () => {
    assert.equal(bytes(0), '0 B');
    assert.equal(bytes(999), '999 B');
    assert.equal(bytes(1000), '1.0 kB');
    assert.equal(bytes(4_267_660), '4.3 MB');
    assert.equal(bytes(999_950_000), '1.0 GB');
    assert.equal(bytes(512_000_000_000), '512 GB');
  });

  test('durations carry over into the next unit', () => {
    assert.equal(duration(400), '0 s');
    assert.equal(duration(59_600), '1 min');
    assert.equal(duration(74_000), '1 min 14 s');
    assert.equal(duration(3_600_000), '1 h');
    assert.equal(duration(7_500_000), '2 h 5 min');
    assert.equal(duration(-5), '0 s');
  });

  test('an age is in the largest unit that is full, and a clock ahead of ours is no negative age', () => {
    const now = Date.UTC(2026, 10, 23);
    assert.equal(age(now - 44_000, now, 'en'), '44 seconds ago');
    assert.equal(age(now - 3_599_000, now, 'en'), '59 minutes ago');
    assert.equal(age(now - 26 * 3_600_000, now, 'en'), '1 day ago');
    assert.equal(age(now - 400 * 86_400_000, now, 'en'), '1 year ago');
    assert.equal(age(now + 5_000, now, 'en'), '0 seconds ago');
  });
});

describe('links from documents that anybody may have written', () => {
  test('only web addresses become links', () => {
    assert.equal(webLink('https://mlflow.example.org/#/runs/1'), 'https://mlflow.example.org/#/runs/1');
    assert.equal(webLink('javascript:alert(1)'), null);
    assert.equal(webLink(' https://example.org'), null);
    assert.equal(webLink('//example.org'), null);
    assert.equal(webLink(''), null);
    assert.equal(webLink(null), null);
  });

  test('a server on the machine of a hub cannot be opened from another', () => {
    for (const own of ['http://127.0.0.1:5117/#/runs/1', 'http://localhost:5117', 'http://[::1]:5117/']) {
      assert.equal(webLink(own, 'hub.example.org'), null);
      assert.equal(webLink(own, 'localhost'), own);
      assert.equal(webLink(own, '127.0.0.1'), own);
    }
    const group = 'https://mlflow.example.org/#/runs/1';
    assert.equal(webLink(group, 'hub.example.org'), group);
  });
});
