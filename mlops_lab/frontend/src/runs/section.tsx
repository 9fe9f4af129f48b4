/**
 * The runs section: the newest runs of one experiment, with what they measured and on which data.
 */
import { ReactElement, useId, useMemo, useState } from 'react';

import { dataOf } from '../comparison/document';
import type { RunRow } from '../contract';
import { age, duration, metric, moment } from '../format';
import { Badge, Button, Empty, Failure, Skeleton, useNow, WebLink } from '../panel/elements';
import { useStore } from '../store';
import type { IMlopsLab } from '../tokens';
import type { WaitingModel } from '../waiting/model';
import { WaitingRuns } from '../waiting/list';
import { EVERY, metricNames } from './list';
import type { RunsModel } from './model';
import { statusBadge } from './status';

interface IProps {
  lab: IMlopsLab;
  model: RunsModel;
}

interface ISectionProps extends IProps {
  waiting: WaitingModel;
}

export default function RunsSection({ lab, model, waiting }: ISectionProps): ReactElement {
  return (
    <>
      <WaitingRuns lab={lab} model={waiting} />
      <SentRuns lab={lab} model={model} />
    </>
  );
}

/** The runs that the server has. */
function SentRuns({ lab, model }: IProps): ReactElement {
  const { trans } = lab;
  const connection = useStore(lab.connection);
  const runs = useStore(model.runs);
  const error = useStore(model.error);
  const experiment = useStore(model.experiment);

  if (!connection) {
    return <p className="mlops-soft">{trans.__('Waiting for the connection.')}</p>;
  }
  if (connection.status !== 'connected') {
    const text =
      connection.status === 'unreachable'
        ? trans.__('The runs are shown again when the MLflow server answers.')
        : trans.__('Connect to an MLflow server to see its runs.');
    return (
      <Empty text={text} testId="mlops-runs-offline">
        <Button onClick={() => lab.reveal('connection')}>{trans.__('Go to Connection')}</Button>
      </Empty>
    );
  }
  const failure = error && <Failure error={error} again={() => void model.refresh()} label={trans.__('Try again')} />;
  if (!runs) {
    return failure ?? <Skeleton label={trans.__('Reading the runs')} lines={4} />;
  }
  if (experiment === null) {
    return (
      <>
        <Empty
          text={trans.__('You have no experiments on this server yet.')}
          hint={trans.__('Run a training cell, or ask a colleague to share an experiment with you.')}
          testId="mlops-no-experiments"
        />
        {failure}
      </>
    );
  }
  return (
    <div data-testid="mlops-runs">
      <RunsTable lab={lab} model={model} runs={runs} />
      {failure}
      <Foot lab={lab} model={model} />
    </div>
  );
}

function RunsTable({ lab, model, runs }: IProps & { runs: readonly RunRow[] }): ReactElement {
  const { trans } = lab;
  const experiments = useStore(model.experiments);
  const experiment = useStore(model.experiment);
  const more = useStore(model.more);
  const loading = useStore(model.loading);
  const now = useNow(15_000);
  const names = useMemo(() => metricNames(runs), [runs]);
  const [chosen, setChosen] = useState<Record<string, string>>(lab.memory.value.metric);
  const kept = chosen[experiment ?? ''];
  const shown = kept !== undefined && names.includes(kept) ? kept : (names[0] ?? null);
  const choose = (name: string) => {
    const metrics = { ...lab.memory.value.metric, [experiment ?? '']: name };
    lab.memory.update({ metric: metrics });
    setChosen(metrics);
  };
  return (
    <>
      <div className="mlops-Filters">
        <Choice
          label={trans.__('Experiment')}
          testId="mlops-experiment"
          value={experiment ?? ''}
          options={[
            ...(experiments.length > 1 ? [[EVERY, trans.__('All experiments')] as [string, string]] : []),
            ...experiments.map(one => [one.experiment_id, one.name] as [string, string])
          ]}
          onChoose={id => model.choose(id)}
        />
        {names.length > 0 && (
          <Choice
            label={trans.__('Metric')}
            testId="mlops-metric"
            value={shown ?? ''}
            options={names.map(name => [name, name])}
            onChoose={choose}
          />
        )}
      </div>
      {runs.length === 0 ? (
        <Empty
          text={trans.__('This experiment has no runs yet.')}
          hint={trans.__('Run a training cell: its run appears here while it trains.')}
          testId="mlops-no-runs"
        />
      ) : (
        <ul className="mlops-Runs" aria-label={trans.__('Runs, newest first')}>
          {runs.map(run => (
            <Run key={run.run_id} lab={lab} model={model} run={run} metricName={shown} now={now} />
          ))}
        </ul>
      )}
      {more && (
        <Button look="link" busy={loading} testId="mlops-more-runs" onClick={() => void model.loadMore()}>
          {trans.__('Load more')}
        </Button>
      )}
    </>
  );
}

function Run(props: IProps & { run: RunRow; metricName: string | null; now: number }): ReactElement {
  const { lab, model, run, metricName, now } = props;
  const { trans, language } = lab;
  const ticked = useStore(model.ticked).has(run.run_id);
  const me = useStore(lab.connection)?.user;
  const where = useStore(model.experiment) === EVERY && run.experiment;
  const who = me && run.user !== me && run.user;
  const id = useId();
  const { tone, word, icon } = statusBadge(run.status, trans);
  const took = (run.end_time ?? now) - run.start_time;
  const value = metricName === null ? undefined : run.metrics[metricName];
  return (
    <li
      className="mlops-Run"
      data-testid={`mlops-run-${run.run_id}`}
      data-run-id={run.run_id}
      data-status={run.status}
      data-ticked={ticked}
    >
      <input
        id={id}
        type="checkbox"
        checked={ticked}
        onChange={event => model.tick(run.run_id, event.target.checked)}
        aria-label={trans.__('Tick %1 to compare it', run.name)}
      />
      <label
        htmlFor={id}
        className="mlops-RunText"
        title={trans.__('%1\nStarted %2\nTook %3', run.name, moment(run.start_time, language), duration(took))}
      >
        <span className="mlops-RunName">{run.name}</span>
        <span className="mlops-Line">
          <Badge tone={tone} icon={icon}>
            {word}
          </Badge>
          {value !== undefined && (
            <span className="mlops-Metric">
              <span className="mlops-soft">{metricName}</span> <strong>{metric(value)}</strong>
            </span>
          )}
        </span>
        <span className="mlops-soft mlops-Facts-line">
          {dataOf(run) || trans.__('no dataset')} · {age(run.start_time, now, language)}
        </span>
        {(where || who) && (
          <span className="mlops-soft mlops-Facts-line">{[who, where].filter(Boolean).join(' · ')}</span>
        )}
      </label>
      <WebLink to={run.link} label={trans.__('Open %1 in MLflow', run.name)} />
    </li>
  );
}

function Foot({ lab, model }: IProps): ReactElement | null {
  const { trans } = lab;
  const ticked = useStore(model.ticked).size;
  const runs = useStore(model.runs);
  const comparing = useStore(model.comparing);
  const failure = useStore(model.failure);
  const notebook = useStore(lab.notebooks.current);
  if (!runs || runs.length === 0) {
    return null;
  }
  const enough = ticked > 1;
  return (
    <div className="mlops-Foot mlops-mod-sticky">
      <div className="mlops-Row">
        <Button
          look="primary"
          testId="mlops-compare"
          disabled={!enough}
          busy={comparing}
          title={notebook ? trans.__('Insert and run a comparison in the notebook') : trans.__('Open the comparison')}
          onClick={() => void model.compare(false)}
        >
          {trans.__('Compare')}
        </Button>
        <Button
          testId="mlops-compare-tab"
          disabled={!enough || comparing}
          title={trans.__('Open the comparison in a tab of its own')}
          onClick={() => void model.compare(true)}
        >
          {trans.__('Open in tab')}
        </Button>
        {ticked > 0 && (
          <Button look="link" onClick={() => model.clearTicks()}>
            {trans.__('Clear (%1)', ticked)}
          </Button>
        )}
      </div>
      {!enough && <p className="mlops-soft">{trans.__('Tick two or more runs to compare them.')}</p>}
      {failure && <Failure error={failure} />}
    </div>
  );
}

function Choice(props: {
  label: string;
  testId: string;
  value: string;
  options: [string, string][];
  onChoose: (value: string) => void;
}): ReactElement {
  const id = useId();
  return (
    <div className="mlops-Choice">
      <label htmlFor={id}>{props.label}</label>
      <select
        id={id}
        data-testid={props.testId}
        value={props.value}
        onChange={event => props.onChoose(event.target.value)}
      >
        {props.options.map(([value, label]) => (
          <option key={value} value={value}>
            {label}
          </option>
        ))}
      </select>
    </div>
  );
}
