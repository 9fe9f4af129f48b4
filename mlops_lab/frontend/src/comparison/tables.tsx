/**
 * The comparison's tables: one column per run, in the same order and with the same mark as in the charts.
 */
import type { TranslationBundle } from '@jupyterlab/translation';
import React, { ReactElement } from 'react';

import type { Comparison, MetricRow, ParamRow, RunRow } from '../contract';
import { difference, duration, metric, moment, webLink } from '../format';
import { Badge } from '../panel/elements';
import { statusBadge } from '../runs/status';
import { dataOf } from './document';
import { LineSample } from './marks';

interface IProps {
  comparison: Comparison;
  labels: readonly string[];
  trans: TranslationBundle;
  language?: string;
}

/** Who is compared: name, data, code, time. */
export function RunsTable({ comparison, labels, trans, language }: IProps): ReactElement {
  const { runs } = comparison;
  const rows: [string, (run: RunRow) => React.ReactNode][] = [
    [
      trans.__('Status'),
      run => {
        const { tone, word, icon } = statusBadge(run.status, trans);
        return (
          <Badge tone={tone} icon={icon}>
            {word}
          </Badge>
        );
      }
    ],
    [trans.__('Dataset version'), run => dataOf(run) || <Missing text={trans.__('not recorded')} />],
    [trans.__('Code'), run => <Code run={run} trans={trans} />],
    [trans.__('Started'), run => moment(run.start_time, language)],
    [trans.__('Took'), run => (run.end_time === null ? '–' : duration(run.end_time - run.start_time))],
    [trans.__('User'), run => run.user || '–']
  ];
  return (
    <Scroll label={trans.__('Runs')}>
      <table className="mlops-Table">
        <Head first={trans.__('Run')} labels={labels} runs={runs} trans={trans} />
        <tbody>
          {rows.map(([name, cell]) => (
            <tr key={name}>
              <th scope="row">{name}</th>
              {runs.map(run => (
                <td key={run.run_id}>{cell(run)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

/** Last values; with two runs also their difference. */
export function MetricsTable({ comparison, labels, trans }: IProps): ReactElement | null {
  const { metrics, runs } = comparison;
  if (metrics.length === 0) {
    return null;
  }
  const pair = runs.length === 2;
  return (
    <section>
      <h3>{trans.__('Metrics')}</h3>
      <Scroll label={trans.__('Metrics')}>
        <table className="mlops-Table" data-testid="mlops-metrics">
          <Head
            first={trans.__('Last value')}
            labels={labels}
            trans={trans}
            last={pair ? trans.__('Difference') : undefined}
            numbers
          />
          <tbody>
            {metrics.map(row => (
              <tr key={row.name}>
                <th scope="row">{row.name}</th>
                {row.values.map((value, index) => (
                  <td key={index} className="mlops-Number" title={value === null ? undefined : String(value)}>
                    {metric(value)}
                  </td>
                ))}
                {pair && <Change row={row} />}
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </section>
  );
}

/** Differing params; the same ones folded below. */
export function ParamsTable({ comparison, labels, trans }: IProps): ReactElement | null {
  const differing = comparison.params.filter(row => row.differs);
  const same = comparison.params.filter(row => !row.differs);
  if (comparison.params.length === 0) {
    return null;
  }
  return (
    <section data-testid="mlops-params">
      <h3>{trans.__('Params')}</h3>
      {differing.length > 0 ? (
        <Scroll label={trans.__('Params that differ')}>
          <table className="mlops-Table">
            <Head first={trans.__('Differs')} labels={labels} trans={trans} />
            <tbody>
              {differing.map(row => (
                <Param key={row.name} row={row} trans={trans} />
              ))}
            </tbody>
          </table>
        </Scroll>
      ) : (
        <p>{trans.__('No param differs.')}</p>
      )}
      {same.length > 0 && (
        <details>
          <summary>{trans._n('%1 param is the same', '%1 params are the same', same.length)}</summary>
          <Scroll label={trans.__('Params that are the same')}>
            <table className="mlops-Table">
              <tbody>
                {same.map(row => (
                  <tr key={row.name}>
                    <th scope="row">{row.name}</th>
                    <td>
                      <Value value={row.values[0]} trans={trans} />
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </Scroll>
        </details>
      )}
    </section>
  );
}

function Head(props: {
  first: string;
  labels: readonly string[];
  trans: TranslationBundle;
  runs?: readonly RunRow[];
  last?: string;
  numbers?: boolean;
}): ReactElement {
  const kind = props.numbers ? 'mlops-Number' : undefined;
  return (
    <thead>
      <tr>
        <th scope="col">{props.first}</th>
        {props.labels.map((label, index) => {
          const link = webLink(props.runs?.[index]?.link);
          return (
            <th key={index} scope="col" className={kind} title={label}>
              <span className="mlops-RunHead">
                <LineSample index={index} />
                {link ? (
                  <a href={link} target="_blank" rel="noopener noreferrer" title={props.trans.__('Open in MLflow')}>
                    {label}
                  </a>
                ) : (
                  <span>{label}</span>
                )}
              </span>
            </th>
          );
        })}
        {props.last && (
          <th scope="col" className={kind}>
            {props.last}
          </th>
        )}
      </tr>
    </thead>
  );
}

function Change({ row }: { row: MetricRow }): ReactElement {
  return <td className="mlops-Number mlops-Change">{difference(row.values[0], row.values[1])}</td>;
}

function Param({ row, trans }: { row: ParamRow; trans: TranslationBundle }): ReactElement {
  return (
    <tr>
      <th scope="row">{row.name}</th>
      {row.values.map((value, index) => (
        <td key={index}>
          <Value value={value} trans={trans} />
        </td>
      ))}
    </tr>
  );
}

function Value({ value, trans }: { value: string | null | undefined; trans: TranslationBundle }): ReactElement {
  return value === null || value === undefined ? (
    <Missing text={trans.__('not set')} />
  ) : (
    <span className="mlops-Literal" title={value}>
      {value}
    </span>
  );
}

function Code({ run, trans }: { run: RunRow; trans: TranslationBundle }): ReactElement {
  if (!run.commit) {
    return <Missing text={trans.__('no commit recorded')} />;
  }
  return (
    <span title={run.commit}>
      <code>{run.commit.slice(0, 8)}</code>{' '}
      {run.dirty && <span className="mlops-Chip">{trans.__('uncommitted changes')}</span>}
    </span>
  );
}

function Missing({ text }: { text: string }): ReactElement {
  return <span className="mlops-soft">{text}</span>;
}

/** Wide tables scroll inside themselves, with the keyboard too. */
function Scroll(props: { label: string; children: React.ReactNode }): ReactElement {
  return (
    // A region that scrolls must be reachable with the keyboard.
    // eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex
    <div className="mlops-Scroll" role="region" aria-label={props.label} tabIndex={0}>
      {props.children}
    </div>
  );
}
