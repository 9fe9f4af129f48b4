/**
 * The connection section: start a server here, log in to one elsewhere, and see how it stands.
 */
import { ReactElement, useState } from 'react';

import type { ConnectionState, EmbeddedServer } from '../contract';
import { duration } from '../format';
import { Button, Empty, Failure, Notice, Skeleton, WebLink } from '../panel/elements';
import { useStore } from '../store';
import type { IMlopsLab } from '../tokens';
import { LoginForm } from './login';
import type { ConnectionModel } from './model';

/** Seconds after which a start is unusually slow. */
const SLOW_START = 60;

interface IProps {
  lab: IMlopsLab;
  model: ConnectionModel;
}

export default function ConnectionSection({ lab, model }: IProps): ReactElement {
  const { trans } = lab;
  const state = useStore(lab.connection);
  const error = useStore(model.error);
  const doing = useStore(model.doing);
  const [asking, setAsking] = useState(false);
  const again = () => void model.refresh();

  if (!state) {
    return error ? (
      <Failure error={error} again={again} label={trans.__('Try again')} />
    ) : (
      <Skeleton label={trans.__('Asking for the connection')} lines={2} />
    );
  }
  const login = () => setAsking(true);
  const body = asking ? (
    <LoginForm lab={lab} model={model} onDone={() => setAsking(false)} />
  ) : state.embedded.state === 'starting' ? (
    <Starting lab={lab} server={state.embedded} onStop={() => void model.stop()} stopping={doing === 'stop'} />
  ) : state.status === 'connected' ? (
    <Connected lab={lab} model={model} state={state} onLogin={login} />
  ) : state.status === 'unreachable' ? (
    <Lost lab={lab} model={model} state={state} onLogin={login} />
  ) : (
    <Disconnected lab={lab} model={model} state={state} onLogin={login} />
  );
  return (
    <>
      {error && <Failure error={error} again={again} label={trans.__('Try again')} />}
      {body}
    </>
  );
}

/** Logged in, but the server does not answer, or not to us. */
function Lost({ lab, model, state, onLogin }: IProps & { state: ConnectionState; onLogin: () => void }) {
  const { trans } = lab;
  const doing = useStore(model.doing);
  const { embedded } = state;
  const local = embedded.uri === state.uri && (embedded.state === 'stopped' || embedded.state === 'failed');
  return (
    <Notice
      tone="error"
      text={state.message ?? trans.__('The MLflow server does not answer.')}
      hint={state.hint}
      testId="mlops-unreachable"
    >
      {local ? (
        <Button look="primary" testId="mlops-start-server" onClick={() => void model.start()} busy={doing === 'start'}>
          {trans.__('Start local server')}
        </Button>
      ) : (
        <Button look="primary" onClick={() => void model.refresh()} busy={doing === 'refresh'}>
          {trans.__('Try again')}
        </Button>
      )}
      <Button testId="mlops-open-login" onClick={onLogin}>
        {local ? trans.__('Log in elsewhere…') : trans.__('Log in again…')}
      </Button>
      <Button testId="mlops-logout" onClick={() => void model.logout()} busy={doing === 'logout'}>
        {trans.__('Log out')}
      </Button>
    </Notice>
  );
}

function Disconnected({ lab, model, state, onLogin }: IProps & { state: ConnectionState; onLogin: () => void }) {
  const { trans } = lab;
  const doing = useStore(model.doing);
  const { embedded } = state;
  return (
    <>
      {embedded.state === 'failed' && (
        <Notice
          tone="error"
          text={embedded.message ?? trans.__('The local MLflow server did not start.')}
          hint={embedded.hint}
        />
      )}
      <Empty
        text={trans.__('Runs are recorded on an MLflow server.')}
        hint={trans.__('Start one on this machine, or log in to the server of your group.')}
        testId="mlops-disconnected"
      >
        <Button
          look="primary"
          testId="mlops-start-server"
          onClick={() => void model.start()}
          busy={doing === 'start'}
          disabled={doing !== null && doing !== 'refresh'}
        >
          {trans.__('Start local server')}
        </Button>
        <Button testId="mlops-open-login" onClick={onLogin}>
          {trans.__('Log in…')}
        </Button>
      </Empty>
    </>
  );
}

function Starting(props: { lab: IMlopsLab; server: EmbeddedServer; onStop: () => void; stopping: boolean }) {
  const { trans } = props.lab;
  const { step, elapsed } = props.server;
  const time = duration(elapsed * 1000);
  return (
    <div className="mlops-Starting" data-testid="mlops-starting" role="status">
      <p>{trans.__('Starting the local MLflow server')}</p>
      <div className="mlops-Progress" aria-hidden="true" />
      <p className="mlops-soft">{step ? trans.__('%1 (%2)', step, time) : time}</p>
      {elapsed > SLOW_START && (
        <p className="mlops-soft">
          {trans.__('This takes longer than usual; on a busy machine it can. You may stop it and start it again.')}
        </p>
      )}
      <div className="mlops-Row">
        <Button onClick={props.onStop} busy={props.stopping}>
          {trans.__('Stop')}
        </Button>
      </div>
    </div>
  );
}

function Connected({ lab, model, state, onLogin }: IProps & { state: ConnectionState; onLogin: () => void }) {
  const { trans } = lab;
  const doing = useStore(model.doing);
  const { embedded } = state;
  const running = embedded.state === 'running';
  const local = running && embedded.uri === state.uri;
  const auth = {
    none: trans.__('no authentication'),
    basic: trans.__('password'),
    token: trans.__('token')
  }[state.auth];
  const stop = (
    <Button testId="mlops-stop-server" onClick={() => void model.stop()} busy={doing === 'stop'}>
      {local ? trans.__('Stop server') : trans.__('Stop local server')}
    </Button>
  );
  return (
    <div data-testid="mlops-connected">
      <dl className="mlops-Facts">
        <dt>{trans.__('Server')}</dt>
        <dd title={state.uri ?? undefined}>
          {local ? trans.__('Local, on this machine') : (state.uri ?? '').replace(/^https?:\/\//, '')}
        </dd>
        {!local && (
          <>
            <dt>{trans.__('User')}</dt>
            <dd>{state.user ? trans.__('%1 (%2)', state.user, auth) : auth}</dd>
          </>
        )}
        {state.server_version && (
          <>
            <dt>{trans.__('Version')}</dt>
            <dd>{trans.__('MLflow %1', state.server_version)}</dd>
          </>
        )}
      </dl>
      <div className="mlops-Row">
        <WebLink to={state.uri && `${state.uri}/#/experiments`} label={trans.__('Open MLflow in a new tab')}>
          {trans.__('Open MLflow')}
        </WebLink>
        {local ? (
          stop
        ) : (
          <Button testId="mlops-logout" onClick={() => void model.logout()} busy={doing === 'logout'}>
            {trans.__('Log out')}
          </Button>
        )}
        <Button look="link" testId="mlops-open-login" onClick={onLogin}>
          {local ? trans.__('Log in elsewhere…') : trans.__('Switch…')}
        </Button>
      </div>
      {running && !local && (
        <Notice tone="info" text={trans.__('The local server is running too.')}>
          {stop}
        </Notice>
      )}
    </div>
  );
}
