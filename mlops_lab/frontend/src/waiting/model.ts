/**
 * The runs that wait on the computer that JupyterLab runs on: because they were made offline, because their server was
 * away, or because their kernel died. They are there whether a server is connected or not.
 */
import { NotebookActions } from '@jupyterlab/notebook';
import { Poll } from '@lumino/polling';

import { ApiError, asApiError } from '../api';
import type { Preview, SyncReport, Waiting, WaitingRun } from '../contract';
import { Store } from '../store';
import type { IMlopsLab } from '../tokens';

const CALM = { interval: 30_000, max: 300_000, backoff: true };
const SENDING = { interval: 1_000, max: 10_000, backoff: true };

/** What became of a sending. */
export interface IOutcome {
  report: SyncReport | null;
  problem: string | null;
}

export class WaitingModel {
  constructor(private readonly _lab: IMlopsLab) {
    const asleep = () => !_lab.visible.value || document.hidden;
    const calm = new Poll({
      name: 'mlops-lab:waiting-runs',
      auto: false,
      frequency: CALM,
      standby: asleep,
      factory: () => this.refresh()
    });
    const sending = new Poll({
      name: 'mlops-lab:sending-runs',
      auto: false,
      frequency: SENDING,
      standby: () => asleep() || !this.sending.value,
      factory: () => this.refresh()
    });
    void calm.start();
    void sending.start();
    const look = () => !asleep() && void this.refresh();
    _lab.visible.subscribe(look);
    _lab.connection.subscribe(look);
    NotebookActions.executed.connect(look);
  }

  readonly runs = new Store<readonly WaitingRun[]>([]);
  readonly sending = new Store(false);
  /** What became of the last sending that this page has seen; null when it was read. */
  readonly outcome = new Store<IOutcome | null>(null);
  /** Why the last request failed. */
  readonly failure = new Store<ApiError | null>(null);
  /** Key of the run that is being read through. */
  readonly opening = new Store<string | null>(null);
  /** Counts the sendings that came to an end. */
  readonly sent = new Store(0);

  /** Read the list again; without an answer it stays as it is. */
  async refresh(): Promise<void> {
    const turn = (this._turn += 1);
    try {
      const state = await this._lab.api.waiting();
      if (turn === this._turn) {
        this._take(state);
      }
    } catch {
      // What keeps every room from working is said once for all, at the panel's top.
    }
  }

  /** Send some of the runs that wait, or every one. */
  async send(runs: readonly string[] = []): Promise<void> {
    if (this.sending.value) {
      return;
    }
    this._turn += 1;
    this.failure.value = null;
    this.outcome.value = null;
    this.sending.value = true;
    try {
      this._take(await this._lab.api.send({ runs: [...runs] }));
    } catch (error) {
      this.sending.value = false;
      this.failure.value = asApiError(error);
    }
  }

  /** Ask what would be sent of a run; null where that cannot be told. */
  async look(run: string): Promise<Preview | null> {
    this.failure.value = null;
    this.opening.value = run;
    try {
      return await this._lab.api.preview(run);
    } catch (error) {
      this.failure.value = asApiError(error);
      void this.refresh();
      return null;
    } finally {
      this.opening.value = null;
    }
  }

  private _take(state: Waiting): void {
    const ended = this.sending.value && !state.sending;
    this.runs.value = state.runs;
    this.sending.value = state.sending;
    if (ended) {
      this.outcome.value = { report: state.report, problem: state.problem };
      this.sent.value += 1;
    }
  }

  private _turn = 0;
}
