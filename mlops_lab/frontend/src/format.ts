/**
 * Numbers, sizes and times as people read them. Pure functions: words come from the caller's translations.
 */
import type { WireNumber } from './contract';

/** A difference this small beside both values is floating-point dust. */
const DUST = 1e-12;

/** Read a wire number, with NaN and the infinities restored. */
export function fromWire(value: WireNumber): number {
  return typeof value === 'number' ? value : Number(value);
}

/** Give a metric in at most four significant digits, e.g. `0.8213`, `1.2e-5`, `NaN`, `∞`. */
export function metric(value: WireNumber | null | undefined): string {
  if (value === null || value === undefined) {
    return '–';
  }
  const number = fromWire(value);
  if (Number.isNaN(number)) {
    return 'NaN';
  }
  if (!Number.isFinite(number)) {
    return number > 0 ? '∞' : '−∞';
  }
  const size = Math.abs(number);
  if (size !== 0 && (size < 1e-4 || size >= 1e7)) {
    return minus(
      number
        .toExponential(3)
        .replace(/\.?0+e/, 'e')
        .replace('e+', 'e')
    );
  }
  if (Number.isInteger(number)) {
    return minus(String(number));
  }
  return minus(size >= 1000 ? number.toFixed(1) : number.toPrecision(4));
}

/** Give the value of an axis tick: like a metric, without closing zeros. */
export function tick(value: number): string {
  return metric(value)
    .replace(/(\.\d*?)0+$/, '$1')
    .replace(/\.$/, '');
}

/** Give the difference of two metrics with its sign, or a dash where there is none. */
export function difference(from: WireNumber | null | undefined, to: WireNumber | null | undefined): string {
  if (from === null || from === undefined || to === null || to === undefined) {
    return '–';
  }
  const [start, end] = [fromWire(from), fromWire(to)];
  const change = end - start;
  if (!Number.isFinite(change)) {
    return '–';
  }
  if (Math.abs(change) < DUST * Math.max(Math.abs(start), Math.abs(end))) {
    return '0';
  }
  return change > 0 ? `+${metric(change)}` : metric(change);
}

/** Give a number of bytes, e.g. `1.4 MB`. */
export function bytes(size: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let unit = 0;
  let rest = size;
  while (rest >= 999.5 && unit < units.length - 1) {
    rest /= 1000;
    unit += 1;
  }
  return `${unit === 0 || rest >= 99.95 ? rest.toFixed(0) : rest.toFixed(1)} ${units[unit]}`;
}

/** Give how long something took, e.g. `48 s`, `3 min 20 s`, `2 h 5 min`. */
export function duration(milliseconds: number): string {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds < 60) {
    return `${seconds} s`;
  }
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) {
    return seconds % 60 === 0 ? `${minutes} min` : `${minutes} min ${seconds % 60} s`;
  }
  const hours = Math.floor(minutes / 60);
  return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
}

/** Give how long ago `time` was, e.g. `3 minutes ago`, in the language of the interface. */
export function age(time: number, now: number, language?: string): string {
  const seconds = Math.max(0, (now - time) / 1000);
  const words = new Intl.RelativeTimeFormat(language, { numeric: 'always' });
  const steps: [number, number, Intl.RelativeTimeFormatUnit][] = [
    [60, 1, 'second'],
    [3600, 60, 'minute'],
    [86_400, 3600, 'hour'],
    [30 * 86_400, 86_400, 'day'],
    [365 * 86_400, 30.44 * 86_400, 'month'],
    [Infinity, 365.25 * 86_400, 'year']
  ];
  const [, size, unit] = steps.find(([limit]) => seconds < limit) ?? steps[steps.length - 1]!;
  return words.format(-Math.max(unit === 'second' ? 0 : 1, Math.floor(seconds / size)), unit);
}

/** Give date and time in the reader's own zone. */
export function moment(time: number | string, language?: string): string {
  return new Date(time).toLocaleString(language, { dateStyle: 'medium', timeStyle: 'short' });
}

/** Give the day of an ISO date as its author's calendar showed it, e.g. `2026-11-03`. */
export function day(date: string): string {
  return date.slice(0, 10);
}

const OWN_MACHINE = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/i;

/**
 * Give the address if it may stand in a link: documents can come from anybody's notebook, and a server on the machine
 * of a hub or of Binder is out of reach for a browser that found JupyterLab at `page`.
 */
export function webLink(
  address: string | null | undefined,
  page: string = typeof location === 'undefined' ? '' : location.hostname
): string | null {
  const host = address && /^https?:\/\/(\[[^\]]*\]|[^/:?#]*)/i.exec(address)?.[1];
  return host && (!page || !OWN_MACHINE.test(host) || OWN_MACHINE.test(page)) ? address : null;
}

function minus(text: string): string {
  return text.replace('-', '−').replace('e-', 'e−');
}
