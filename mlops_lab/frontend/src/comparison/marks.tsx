/**
 * How a run is told apart from the others: a line style, a symbol and a colour, the same in tables and charts.
 */
import type { ReactElement } from 'react';

/** Colours by the theme's own names; dash and symbol carry the difference without them. */
const COLOURS = ['brand', 'warn', 'success', 'error', 'info', 'accent'] as const;
const DASHES = [[], [7, 4], [2, 3], [9, 3, 2, 3], [12, 4], [5, 2]] as const;
const SYMBOLS = ['circle', 'rect', 'triangle', 'diamond', 'emptyCircle', 'emptyRect'] as const;

/** The look of one run. */
export interface IMark {
  /** Name of the CSS variable of the colour. */
  variable: string;
  dash: readonly number[];
  symbol: (typeof SYMBOLS)[number];
}

/** Give the look of the run at `index`; many runs repeat colours before they repeat a whole look. */
export function markOf(index: number): IMark {
  const round = Math.floor(index / COLOURS.length);
  return {
    variable: `--jp-${COLOURS[index % COLOURS.length]!}-color1`,
    dash: DASHES[(index + round) % DASHES.length]!,
    symbol: SYMBOLS[(index + round) % SYMBOLS.length]!
  };
}

const SHAPES: Record<IMark['symbol'], ReactElement> = {
  circle: <circle cx="14" cy="6" r="3.2" fill="currentColor" />,
  rect: <rect x="11" y="3" width="6" height="6" fill="currentColor" />,
  triangle: <path d="M14 2.2 17.8 9H10.2Z" fill="currentColor" />,
  diamond: <path d="M14 1.8 18 6 14 10.2 10 6Z" fill="currentColor" />,
  emptyCircle: <circle cx="14" cy="6" r="2.8" fill="var(--mlops-ground)" stroke="currentColor" strokeWidth="1.5" />,
  emptyRect: (
    <rect
      x="11.4"
      y="3.4"
      width="5.2"
      height="5.2"
      fill="var(--mlops-ground)"
      stroke="currentColor"
      strokeWidth="1.5"
    />
  )
};

/** A short piece of the run's line. */
export function LineSample({ index }: { index: number }): ReactElement {
  const mark = markOf(index);
  return (
    <svg
      className="mlops-LineSample"
      viewBox="0 0 28 12"
      width="28"
      height="12"
      aria-hidden="true"
      style={{ color: `var(${mark.variable})` }}
    >
      <line x1="1" y1="6" x2="27" y2="6" stroke="currentColor" strokeWidth="2" strokeDasharray={mark.dash.join(' ')} />
      {SHAPES[mark.symbol]}
    </svg>
  );
}
