/**
 * The curves. This file and ECharts are one chunk, fetched when the first comparison with curves is shown.
 */
import type { TranslationBundle } from '@jupyterlab/translation';
import { LineChart } from 'echarts/charts';
import { GridComponent, TooltipComponent } from 'echarts/components';
import * as echarts from 'echarts/core';
import { CanvasRenderer } from 'echarts/renderers';
import { ReactElement, useEffect, useRef, useState } from 'react';

import type { Curve, RunRow } from '../contract';
import { metric, tick } from '../format';
import { Button } from '../panel/elements';
import { firstGap, points } from './document';
import { LineSample, markOf } from './marks';

echarts.use([LineChart, GridComponent, TooltipComponent, CanvasRenderer]);

/** Charts shown before the reader asks for all. */
const FEW = 8;
const HEIGHT = 220;
/** Milliseconds between two looks whether the theme has been loaded. */
const THEME_WAIT = 200;

interface IProps {
  curves: readonly Curve[];
  runs: readonly RunRow[];
  labels: readonly string[];
  trans: TranslationBundle;
}

export default function Charts({ curves, runs, labels, trans }: IProps): ReactElement {
  const [all, setAll] = useState(false);
  const theme = useTheme();
  const shown = all ? curves : curves.slice(0, FEW);
  return (
    <>
      <ul className="mlops-Legend" aria-label={trans.__('Legend')}>
        {labels.map((label, index) => (
          <li key={index}>
            <LineSample index={index} />
            <span title={label}>{label}</span>
          </li>
        ))}
      </ul>
      <div className="mlops-Charts">
        {shown.map(curve => (
          <Chart key={curve.metric} curve={curve} runs={runs} labels={labels} trans={trans} theme={theme} />
        ))}
      </div>
      {curves.length > FEW && (
        <Button look="link" aria-expanded={all} onClick={() => setAll(!all)}>
          {all ? trans.__('Show fewer curves') : trans.__('Show all %1 curves', curves.length)}
        </Button>
      )}
    </>
  );
}

function Chart(props: Omit<IProps, 'curves'> & { curve: Curve; theme: number }): ReactElement {
  const { curve, runs, labels, trans, theme } = props;
  const node = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const element = node.current;
    if (!element) {
      return;
    }
    let chart: echarts.ECharts | null = null;
    let timer = 0;
    const draw = () => {
      window.clearTimeout(timer);
      if (chart || element.clientWidth === 0) {
        chart?.resize({ height: HEIGHT });
      } else if (getComputedStyle(element).getPropertyValue('--jp-ui-font-color1') === '') {
        // While a page loads, saved outputs can stand before the theme does.
        timer = window.setTimeout(draw, THEME_WAIT);
      } else {
        chart = echarts.init(element, undefined, { renderer: 'canvas', height: HEIGHT });
        chart.setOption(options(element, curve, runs, labels, trans));
      }
    };
    // An output is rendered before it is attached: without a size it has no style to take colours from either.
    const observer = new ResizeObserver(draw);
    observer.observe(element);
    return () => {
      observer.disconnect();
      window.clearTimeout(timer);
      chart?.dispose();
    };
  }, [curve, runs, labels, trans, theme]);
  const nameOf = (series: Curve['series'][number]) =>
    labels[runs.findIndex(run => run.run_id === series.run_id)] ?? series.run_id;
  const ends = curve.series.map(series =>
    trans.__('%1 ends at %2', nameOf(series), metric(series.values[series.values.length - 1]))
  );
  const gaps = curve.series.flatMap(series => {
    const gap = firstGap(series);
    if (!gap) {
      return [];
    }
    const facts = [nameOf(series), metric(gap.value), gap.step];
    return [trans._n('%2: %3 at step %4', '%2: %3 first at step %4, %1 times in all', gap.count, ...facts)];
  });
  return (
    <figure className="mlops-Chart" data-testid={`mlops-chart-${curve.metric}`}>
      <figcaption>{curve.metric}</figcaption>
      <div
        ref={node}
        role="img"
        aria-label={trans.__('%1 by step: %2.', curve.metric, ends.join('; '))}
        style={{ height: HEIGHT }}
      />
      {gaps.map(gap => (
        <p key={gap} className="mlops-soft">
          {gap}
        </p>
      ))}
    </figure>
  );
}

function options(
  element: HTMLElement,
  curve: Curve,
  runs: readonly RunRow[],
  labels: readonly string[],
  trans: TranslationBundle
): echarts.EChartsCoreOption {
  const style = getComputedStyle(element);
  const css = (name: string) => style.getPropertyValue(name).trim();
  const font = { color: css('--jp-ui-font-color1'), fontFamily: css('--jp-ui-font-family') };
  const faint = css('--jp-border-color2');
  const line = { lineStyle: { color: faint } };
  const name = { ...font, fontSize: 11, color: css('--jp-ui-font-color2') };
  return {
    animation: false,
    textStyle: font,
    grid: { left: 4, right: 16, top: 10, bottom: 4, outerBoundsMode: 'same', outerBoundsContain: 'all' },
    xAxis: {
      type: 'value',
      name: trans.__('step'),
      nameLocation: 'middle',
      nameGap: 6,
      nameTextStyle: name,
      minInterval: 1,
      min: 'dataMin',
      max: 'dataMax',
      axisLine: line,
      axisTick: line,
      axisLabel: { ...name, hideOverlap: true },
      splitLine: { show: false }
    },
    yAxis: {
      type: 'value',
      name: curve.metric,
      nameLocation: 'middle',
      nameGap: 6,
      nameTextStyle: name,
      scale: true,
      axisLabel: { ...name, formatter: (value: number) => tick(value) },
      splitLine: line
    },
    tooltip: {
      trigger: 'axis',
      confine: true,
      renderMode: 'html',
      backgroundColor: css('--jp-layout-color1'),
      borderColor: css('--jp-border-color1'),
      textStyle: { ...font, fontSize: 12 },
      valueFormatter: (value: unknown) => metric(typeof value === 'number' ? value : 'NaN')
    },
    series: curve.series.map(series => {
      const index = Math.max(
        0,
        runs.findIndex(run => run.run_id === series.run_id)
      );
      const mark = markOf(index);
      const colour = css(mark.variable);
      const data = points(series.steps, series.values);
      return {
        type: 'line',
        name: labels[index],
        data,
        symbol: mark.symbol,
        symbolSize: 6,
        // ECharts thins the symbols by itself where they would touch.
        showSymbol: data.length <= 40,
        sampling: data.length > 1000 ? 'lttb' : undefined,
        itemStyle: { color: colour },
        lineStyle: { color: colour, width: 2, type: mark.dash.length ? [...mark.dash] : 'solid' },
        connectNulls: false
      };
    })
  };
}

/** A number that changes with JupyterLab's theme. */
function useTheme(): number {
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    let timer = 0;
    const observer = new MutationObserver(() => {
      window.clearTimeout(timer);
      // The attribute changes before the theme's style sheet has been applied.
      timer = window.setTimeout(() => setTurn(count => count + 1), 100);
    });
    observer.observe(document.body, { attributes: true, attributeFilter: ['data-jp-theme-name'] });
    return () => {
      observer.disconnect();
      window.clearTimeout(timer);
    };
  }, []);
  return turn;
}
