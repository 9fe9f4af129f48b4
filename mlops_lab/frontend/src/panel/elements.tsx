/**
 * The few elements that every section is made of, so that they look and behave alike.
 */
import {
  checkIcon,
  circleEmptyIcon,
  errorIcon,
  infoIcon,
  LabIcon,
  launchIcon,
  offlineBoltIcon,
  runningIcon
} from '@jupyterlab/ui-components';
import React, { ReactElement, useEffect, useState } from 'react';

import type { ApiError } from '../api';
import { webLink } from '../format';

type Tone = 'plain' | 'good' | 'warn' | 'bad' | 'busy';

const TONES: Record<Tone, LabIcon> = {
  plain: circleEmptyIcon,
  good: checkIcon,
  warn: offlineBoltIcon,
  bad: errorIcon,
  busy: runningIcon
};

/** A state in an icon and a word. */
export function Badge(props: { tone: Tone; children: React.ReactNode; icon?: LabIcon; testId?: string }): ReactElement {
  const Icon = props.icon ?? TONES[props.tone];
  return (
    <span className="mlops-Badge" data-tone={props.tone} data-testid={props.testId}>
      {props.tone === 'busy' ? <Spinner /> : <Icon.react tag="span" className="mlops-Icon" aria-hidden="true" />}
      <span>{props.children}</span>
    </span>
  );
}

/** A wheel that turns; what it waits for is said in words beside it. */
export function Spinner(): ReactElement {
  return <span className="mlops-Spinner" aria-hidden="true" />;
}

interface IButtonProps extends React.ButtonHTMLAttributes<HTMLButtonElement> {
  look?: 'primary' | 'plain' | 'link';
  busy?: boolean;
  testId?: string;
}

/** A compact button with words. */
export function Button({ look = 'plain', busy, testId, children, ...rest }: IButtonProps): ReactElement {
  return (
    <button
      type="button"
      {...rest}
      className="mlops-Button"
      data-look={look}
      data-testid={testId}
      disabled={rest.disabled || busy}
      aria-busy={busy}
    >
      {busy && <Spinner />}
      {children}
    </button>
  );
}

/** A button with an icon only; `label` is its name and its tooltip. */
export function IconButton(props: {
  icon: LabIcon;
  label: string;
  onClick: () => void;
  busy?: boolean;
  disabled?: boolean;
  testId?: string;
}): ReactElement {
  return (
    <button
      type="button"
      className="mlops-IconButton"
      title={props.label}
      aria-label={props.label}
      aria-busy={props.busy}
      disabled={props.disabled}
      data-testid={props.testId}
      onClick={props.onClick}
    >
      {props.busy ? <Spinner /> : <props.icon.react tag="span" className="mlops-Icon" aria-hidden="true" />}
    </button>
  );
}

/** A link that opens in a new tab; nothing at all where the address is not a web address. */
export function WebLink(props: { to: string | null; label: string; children?: React.ReactNode }): ReactElement | null {
  const address = webLink(props.to);
  if (!address) {
    return null;
  }
  return (
    <a
      className={props.children ? 'mlops-Link' : 'mlops-IconButton'}
      href={address}
      target="_blank"
      rel="noopener noreferrer"
      title={props.label}
      aria-label={props.label}
    >
      {props.children ?? <launchIcon.react tag="span" className="mlops-Icon" aria-hidden="true" />}
    </a>
  );
}

/** A sentence in which `backticks` hold what is to be typed. */
export function Words(props: { text: string }): ReactElement {
  const parts = props.text.split('`');
  return <>{parts.map((part, index) => (index % 2 === 1 ? <code key={index}>{part}</code> : part))}</>;
}

/** A sentence in a box, with what to do next and buttons for it. */
export function Notice(props: {
  tone: 'info' | 'warn' | 'error';
  text: string;
  hint?: string | null;
  children?: React.ReactNode;
  testId?: string;
}): ReactElement {
  const icon = props.tone === 'info' ? infoIcon : props.tone === 'warn' ? offlineBoltIcon : errorIcon;
  return (
    <div
      className="mlops-Notice"
      data-tone={props.tone}
      data-testid={props.testId}
      role={props.tone === 'info' ? 'status' : 'alert'}
    >
      <icon.react tag="span" className="mlops-Icon" aria-hidden="true" />
      <div>
        <p>
          <Words text={props.text} />
        </p>
        {props.hint && (
          <p className="mlops-soft">
            <Words text={props.hint} />
          </p>
        )}
        {props.children && <div className="mlops-Row">{props.children}</div>}
      </div>
    </div>
  );
}

/** An error, and a way to try again. */
export function Failure(props: { error: ApiError; again?: () => void; label?: string }): ReactElement {
  return (
    <Notice tone="error" text={props.error.message} hint={props.error.hint} testId="mlops-error">
      {props.again && <Button onClick={props.again}>{props.label}</Button>}
    </Notice>
  );
}

/** What a section shows when it has nothing yet: one sentence, and a button that helps. */
export function Empty(props: {
  text: string;
  hint?: string;
  children?: React.ReactNode;
  testId?: string;
}): ReactElement {
  return (
    <div className="mlops-Empty" data-testid={props.testId}>
      <p>
        <Words text={props.text} />
      </p>
      {props.hint && (
        <p className="mlops-soft">
          <Words text={props.hint} />
        </p>
      )}
      {props.children && <div className="mlops-Row">{props.children}</div>}
    </div>
  );
}

/** Grey bars in the shape of what is being fetched. */
export function Skeleton(props: { label: string; lines?: number }): ReactElement {
  return (
    <div className="mlops-Skeleton" role="status" aria-label={props.label}>
      {Array.from({ length: props.lines ?? 3 }, (_, line) => (
        <span key={line} />
      ))}
    </div>
  );
}

/** The present time, renewed every `period` milliseconds while the component stands. */
export function useNow(period: number): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = window.setInterval(() => setNow(Date.now()), period);
    return () => window.clearInterval(timer);
  }, [period]);
  return now;
}
