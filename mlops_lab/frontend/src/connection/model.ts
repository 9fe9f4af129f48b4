/**
 * Keeps the state of the tracking server current, and carries out what the user asks of it.
 */
import { Poll } from '@lumino/polling';

import { ApiError, asApiError } from '../api';
import type { ConnectionState, LoginRequest } from '../contract';
import { Store } from '../store';
import type { IMlopsLab } from '../tokens';

/** What is being done now. */
export type Doing = 'start' | 'stop' | 'login' | 'logout' | 'refresh' | null;

const CALM = { interval: 30_000, max: 120_000, backoff: true };
const WATCHFUL = { interval: 1_000, max: 10_000, backoff: true };
/** While the server is away: its return should be seen soon. */
const WAITING = { interval: 5_000, max: 30_000, backoff: true };
/** Milliseconds to wait before asking again: for two seconds the Jupyter server repeats what it saw last. */
const DOUBT = 2_500;

export class ConnectionModel {
  constructor(private readonly _lab: IMlopsLab) {
    this._poll = new Poll({
      name: 'mlops-lab:connection',
      auto: false,
      frequency: CALM,
      standby: () => !_lab.visible.value || document.hidden,
      factory: async () => {
        if (this.doing.value === null) {
          await this._ask(() => _lab.api.connection());
        }
      }
    });
    _lab.visible.subscribe(() => {
      if (_lab.visible.value) {
        void this._poll.refresh();
      }
    });
    let timer = 0;
    _lab.api.doubt.subscribe(() => {
      window.clearTimeout(timer);
      timer = window.setTimeout(() => void this._poll.refresh(), DOUBT);
    });
    void this._poll.start();
  }

  readonly doing = new Store<Doing>(null);
  /** Why the state could not be had, or the last action failed. */
  readonly error = new Store<ApiError | null>(null);

  refresh(): Promise<void> {
    return this._do('refresh', () => this._lab.api.connection());
  }

  start(): Promise<void> {
    return this._do('start', () => this._lab.api.startEmbedded());
  }

  stop(): Promise<void> {
    return this._do('stop', () => this._lab.api.stopEmbedded());
  }

  logout(): Promise<void> {
    return this._do('logout', () => this._lab.api.logout());
  }

  /** Log in. The request is not kept; an error is thrown to the form, which shows it. */
  async login(request: LoginRequest): Promise<void> {
    this.doing.value = 'login';
    try {
      this._accept(await this._lab.api.login(request));
    } finally {
      this.doing.value = null;
    }
  }

  private async _do(doing: Doing, action: () => Promise<ConnectionState>): Promise<void> {
    this.doing.value = doing;
    try {
      await this._ask(action);
    } catch {
      // Already shown.
    } finally {
      this.doing.value = null;
    }
  }

  private async _ask(action: () => Promise<ConnectionState>): Promise<void> {
    try {
      this._accept(await action());
    } catch (error) {
      this.error.value = asApiError(error);
      throw error;
    }
  }

  private _accept(state: ConnectionState): void {
    this.error.value = null;
    this._lab.connection.value = state;
    const frequency = state.embedded.state === 'starting' ? WATCHFUL : state.status === 'unreachable' ? WAITING : CALM;
    if (this._poll.frequency.interval !== frequency.interval) {
      this._poll.frequency = frequency;
    }
  }

  private readonly _poll: Poll;
}
