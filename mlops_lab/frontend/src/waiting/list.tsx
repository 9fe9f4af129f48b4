/**
 * The runs that wait on this computer: why, what would be sent of them, and a button that sends them.
 */
import { closeIcon } from '@jupyterlab/ui-components';
import { ReactElement, useId, useState } from 'react';

import type { SyncReport, WaitingRun } from '../contract';
import { age, moment } from '../format';
import { Button, Failure, IconButton, Notice, Spinner, useNow, Words } from '../panel/elements';
import { useStore } from '../store';
import type { IMlopsLab } from '../tokens';
import type { WaitingModel } from './model';
import { showPreview } from './preview';

/** Runs that are listed before the others are asked for. */
const FEW = 4;

interface IProps {
  lab: IMlopsLab;
  model: WaitingModel;
}

export function WaitingRuns({ lab, model }: IProps): ReactElement | null {
  const runs = useStore(model.runs);
  const sending = useStore(model.sending);
  const outcome = useStore(model.outcome);
  const failure = useStore(model.failure);
  if (runs.length === 0 && !sending && !outcome && !failure) {
    return null;
  }
  return (
    <div className="mlops-Waiting" aria-live="polite">
      {(runs.length > 0 || sending) && <List lab={lab} model={model} runs={runs} sending={sending} />}
      {outcome?.problem && <Notice tone="error" text={outcome.problem} testId="mlops-send-problem" />}
      {outcome?.report && <Report lab={lab} model={model} report={outcome.report} />}
      {failure && <Failure error={failure} />}
    </div>
  );
}

function List({ lab, model, runs, sending }: IProps & { runs: readonly WaitingRun[]; sending: boolean }): ReactElement {
  const { trans } = lab;
  const connected = useStore(lab.connection)?.status === 'connected';
  const now = useNow(30_000);
  const [all, setAll] = useState(false);
  const heading = useId();
  const shown = all ? runs : runs.slice(0, FEW);
  return (
    <section className="mlops-Notice" data-tone="warn" data-testid="mlops-waiting" aria-labelledby={heading}>
      <div>
        <div className="mlops-WaitingHead">
          <h3 id={heading}>
            {sending && <Spinner />}
            {sending
              ? trans.__('Sending what waits on this computer.')
              : trans._n('%1 run waits on this computer.', '%1 runs wait on this computer.', runs.length)}
          </h3>
        </div>
        {sending && <div className="mlops-Progress" role="progressbar" aria-label={trans.__('Sending')} />}
        <ul>
          {shown.map(run => (
            <Row key={run.run_key} lab={lab} model={model} run={run} now={now} still={sending || !connected} />
          ))}
        </ul>
        <div className="mlops-Row">
          {runs.length > 1 && (
            <Button
              testId="mlops-send-all"
              disabled={sending || !connected}
              title={trans.__('Send every run that waits, those made offline included')}
              onClick={() => void model.send()}
            >
              {trans.__('Send all %1', runs.length)}
            </Button>
          )}
          {runs.length > FEW && (
            <Button look="link" onClick={() => setAll(!all)}>
              {all ? trans.__('Show fewer') : trans.__('Show all %1', runs.length)}
            </Button>
          )}
        </div>
        {!connected && <p className="mlops-soft">{trans.__('Connect to an MLflow server to send them.')}</p>}
      </div>
    </section>
  );
}

function Row(props: IProps & { run: WaitingRun; now: number; still: boolean }): ReactElement {
  const { lab, model, run, now, still } = props;
  const { trans, language } = lab;
  const opening = useStore(model.opening) === run.run_key;
  const why =
    run.reason ||
    (run.offline
      ? trans.__('Kept here because it was made with `--offline`.')
      : trans.__('Not sent yet: its server or its kernel went away.'));
  const look = async () => {
    const preview = await model.look(run.run_key);
    if (preview && (await showPreview(lab, preview, !still))) {
      void model.send([run.run_key]);
    }
  };
  return (
    <li data-testid={`mlops-waiting-${run.run_key}`} data-name={run.name}>
      <span className="mlops-RunName" title={trans.__('%1\nStarted %2', run.name, moment(run.started, language))}>
        {run.name}
      </span>
      <span className="mlops-soft mlops-Facts-line">
        {run.experiment} · {age(run.started, now, language)}
      </span>
      <span className="mlops-soft">
        <Words text={why} />
      </span>
      <span className="mlops-Line">
        <Button
          look="link"
          busy={opening}
          aria-label={trans.__('See what would be sent of %1', run.name)}
          onClick={() => void look()}
        >
          {trans.__('Preview')}
        </Button>
        <Button
          look="link"
          disabled={still}
          aria-label={trans.__('Send %1 now', run.name)}
          onClick={() => void model.send([run.run_key])}
        >
          {trans.__('Send now')}
        </Button>
      </span>
    </li>
  );
}

function Report({ lab, model, report }: IProps & { report: SyncReport }): ReactElement {
  const { trans } = lab;
  const sent = report.runs.filter(run => run.status === 'sent').length;
  const rest = report.runs.filter(run => run.status !== 'sent');
  const reasons = [...new Set(rest.map(run => run.message).filter(Boolean))];
  const failed = rest.some(run => run.status === 'failed');
  return (
    <div className="mlops-WaitingHead">
      <Notice
        tone={failed ? 'error' : rest.length > 0 ? 'warn' : 'info'}
        text={
          report.runs.length === 0
            ? trans.__('There was nothing left to send.')
            : rest.length === 0
              ? trans._n('%1 run sent.', '%1 runs sent.', sent)
              : sent === 0
                ? trans.__('Not sent: %1.', rest.map(run => run.name).join(', '))
                : trans.__('%1 of %2 runs sent.', sent, report.runs.length)
        }
        hint={reasons.join(' ')}
        testId="mlops-sent"
      />
      <IconButton
        icon={closeIcon}
        label={trans.__('Close this message')}
        onClick={() => {
          model.outcome.value = null;
        }}
      />
    </div>
  );
}
