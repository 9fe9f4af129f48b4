/**
 * The log-in form. A secret lives in this component only, and is dropped as soon as it was sent.
 */
import React, { ReactElement, useEffect, useId, useRef, useState } from 'react';

import { ApiError, asApiError } from '../api';
import type { LoginRequest } from '../contract';
import { Button, Failure } from '../panel/elements';
import { useStore } from '../store';
import type { IMlopsLab } from '../tokens';
import type { ConnectionModel } from './model';

type Auth = NonNullable<LoginRequest['auth']>;

export function LoginForm(props: { lab: IMlopsLab; model: ConnectionModel; onDone: () => void }): ReactElement {
  const { trans } = props.lab;
  const known = props.lab.connection.value;
  const busy = useStore(props.model.doing) === 'login';
  const [uri, setUri] = useState(known?.uri ?? '');
  const [auth, setAuth] = useState<Auth>(known?.auth ?? 'none');
  const [username, setUsername] = useState('');
  const [secret, setSecret] = useState('');
  const [certificate, setCertificate] = useState('');
  const [error, setError] = useState<ApiError | null>(null);
  const first = useRef<HTMLInputElement>(null);
  const authority = useRef<HTMLDetailsElement>(null);
  useEffect(() => first.current?.focus(), []);

  const submit = async (event: React.FormEvent) => {
    event.preventDefault();
    setError(null);
    const request: LoginRequest = { uri: uri.trim(), auth, ca_bundle: certificate.trim() };
    if (auth === 'basic') {
      request.username = username;
      request.password = secret;
    } else if (auth === 'token') {
      request.token = secret;
    }
    setSecret('');
    try {
      await props.model.login(request);
      props.onDone();
    } catch (failure) {
      const reason = asApiError(failure);
      setError(reason);
      if (reason.code === 'unknown_authority' && authority.current) {
        // What is missing is asked for right there.
        authority.current.open = true;
      }
    }
  };

  return (
    <form
      className="mlops-Form"
      data-testid="mlops-login"
      aria-label={trans.__('Log in to an MLflow server')}
      onSubmit={event => void submit(event)}
    >
      <Field label={trans.__('Server address')}>
        {id => (
          <input
            id={id}
            ref={first}
            inputMode="url"
            required
            spellCheck={false}
            autoComplete="url"
            placeholder="https://mlflow.example.org"
            value={uri}
            onChange={event => setUri(event.target.value)}
          />
        )}
      </Field>
      <Field label={trans.__('Authentication')}>
        {id => (
          <select id={id} value={auth} onChange={event => setAuth(event.target.value as Auth)}>
            <option value="none">{trans.__('None')}</option>
            <option value="basic">{trans.__('User name and password')}</option>
            <option value="token">{trans.__('Token')}</option>
          </select>
        )}
      </Field>
      {auth === 'basic' && (
        <Field label={trans.__('User name')}>
          {id => (
            <input
              id={id}
              required
              autoComplete="username"
              autoCapitalize="none"
              spellCheck={false}
              value={username}
              onChange={event => setUsername(event.target.value)}
            />
          )}
        </Field>
      )}
      {auth !== 'none' && (
        <Field label={auth === 'basic' ? trans.__('Password') : trans.__('Token')}>
          {id => (
            <input
              id={id}
              required
              type="password"
              autoComplete={auth === 'basic' ? 'current-password' : 'off'}
              value={secret}
              onChange={event => setSecret(event.target.value)}
            />
          )}
        </Field>
      )}
      <details ref={authority}>
        <summary>{trans.__('Private certificate authority')}</summary>
        <Field label={trans.__('Path of its certificate file, where JupyterLab runs')}>
          {id => (
            <input
              id={id}
              autoComplete="off"
              spellCheck={false}
              placeholder="ca.crt"
              value={certificate}
              onChange={event => setCertificate(event.target.value)}
            />
          )}
        </Field>
        <p className="mlops-soft">
          {trans.__("The server's administrator gives you the file. You can drop it into the file browser.")}
        </p>
      </details>
      {error && <Failure error={error} />}
      <div className="mlops-Row">
        <Button type="submit" look="primary" busy={busy} testId="mlops-login-submit">
          {busy ? trans.__('Logging in') : trans.__('Log in')}
        </Button>
        <Button onClick={props.onDone} disabled={busy}>
          {trans.__('Cancel')}
        </Button>
      </div>
    </form>
  );
}

function Field(props: { label: string; children: (id: string) => React.ReactNode }): ReactElement {
  const id = useId();
  return (
    <div className="mlops-Field">
      <label htmlFor={id}>{props.label}</label>
      {props.children(id)}
    </div>
  );
}
