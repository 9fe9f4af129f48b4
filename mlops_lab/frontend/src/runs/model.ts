/**
 * The newest runs of an experiment, kept current at little cost: only running ones are asked for often,
 * and nothing at all while nobody looks.
 */
import { NotebookActions } from '@jupyterlab/notebook';
import { Poll } from '@lumino/polling';

import { ApiError, asApiError } from '../api';
import type { Experiment, RunRow } from '../contract';
import { SETUP_SOURCE } from '../notebook/notebooks';
import { Store } from '../store';
import { Command, IMlopsLab } from '../tokens';
import { comparisonOrder, EVERY, isLive, mergeFirstPage, mergeFresh, mergeNextPage, shownExperiment } from './list';

const LIVE = { interval: 3_000, max: 60_000, backoff: true };
const CALM = { interval: 30_000, max: 300_000, backoff: true };
/** Milliseconds after a cell was handed to a kernel at which a new run may have appeared. */
const EXPECT = [2_000, 5_000, 10_000, 20_000];
/** Running runs asked for at a time. */
const MOST = 50;

export class RunsModel {
  constructor(private readonly _lab: IMlopsLab) {
    const asleep = () => !_lab.visible.value || document.hidden || !this.connected;
    const live = new Poll({
      name: 'mlops-lab:running-runs',
      auto: false,
      frequency: LIVE,
      standby: () => asleep() || !this.runs.value?.some(isLive),
      factory: () => this._freshen()
    });
    const calm = new Poll({
      name: 'mlops-lab:runs',
      auto: false,
      frequency: CALM,
      standby: asleep,
      factory: () => this.refresh()
    });
    void live.start();
    void calm.start();
    _lab.connection.subscribe(() => this._followServer());
    _lab.visible.subscribe(() => {
      if (_lab.visible.value && this.connected) {
        void this.refresh();
      }
    });
    const expect = () => {
      this._timers.forEach(timer => window.clearTimeout(timer));
      this._timers = EXPECT.map(wait => window.setTimeout(() => !asleep() && void this.refresh(), wait));
    };
    NotebookActions.executionScheduled.connect(expect);
    NotebookActions.executed.connect(() => !asleep() && void this.refresh());
  }

  readonly experiments = new Store<readonly Experiment[]>([]);
  /** Id of the experiment shown, or {@link EVERY}. */
  readonly experiment = new Store<string | null>(null);
  /** Null until the first answer. */
  readonly runs = new Store<readonly RunRow[] | null>(null);
  readonly more = new Store(false);
  readonly ticked = new Store<ReadonlySet<string>>(new Set());
  readonly loading = new Store(false);
  readonly error = new Store<ApiError | null>(null);
  /** Why the last comparison could not be made. */
  readonly failure = new Store<ApiError | null>(null);
  readonly comparing = new Store(false);

  get connected(): boolean {
    return this._lab.connection.value?.status === 'connected';
  }

  /** Read experiments and the newest page again. */
  async refresh(): Promise<void> {
    if (!this.connected) {
      return;
    }
    const turn = (this._turn += 1);
    this.loading.value = true;
    try {
      await this._lab.memory.ready;
      const experiments = await this._lab.api.experiments();
      if (turn !== this._turn) {
        return;
      }
      this.experiments.value = experiments;
      const shown = shownExperiment(experiments, this._lab.memory.value.experiment);
      if (shown !== this.experiment.value) {
        this._forget();
        this.experiment.value = shown;
      }
      const page = shown ? await this._lab.api.runs(where(shown)) : { runs: [], next_page_token: null };
      if (turn !== this._turn) {
        return;
      }
      const known = this.runs.value ?? [];
      const onlyOnePage = known.length <= page.runs.length || page.next_page_token === null;
      this.runs.value = mergeFirstPage(page.runs, known, onlyOnePage);
      if (onlyOnePage) {
        this._setToken(page.next_page_token);
      }
      this.error.value = null;
    } catch (error) {
      if (turn === this._turn) {
        this.error.value = asApiError(error);
      }
    } finally {
      if (turn === this._turn) {
        this.loading.value = false;
      }
    }
  }

  choose(experiment: string): void {
    this._lab.memory.update({ experiment });
    this._forget();
    this.experiment.value = experiment;
    void this.refresh();
  }

  async loadMore(): Promise<void> {
    const experiment = this.experiment.value;
    const token = this._token;
    if (!experiment || !token || this.loading.value) {
      return;
    }
    this.loading.value = true;
    try {
      const page = await this._lab.api.runs(where(experiment), token);
      if (this.experiment.value === experiment && this._token === token) {
        this.runs.value = mergeNextPage(this.runs.value ?? [], page.runs);
        this._setToken(page.next_page_token);
      }
    } catch (error) {
      this.error.value = asApiError(error);
    } finally {
      this.loading.value = false;
    }
  }

  tick(run: string, on: boolean): void {
    const ticked = new Set(this.ticked.value);
    if (on) {
      ticked.add(run);
    } else {
      ticked.delete(run);
    }
    this.ticked.value = ticked;
  }

  clearTicks(): void {
    this.ticked.value = new Set();
  }

  /** Compare the ticked runs in the active notebook, or in a tab where there is none. */
  async compare(inTab: boolean): Promise<void> {
    const runs = comparisonOrder(this.runs.value ?? [], this.ticked.value);
    if (runs.length < 2 || this.comparing.value) {
      return;
    }
    this.comparing.value = true;
    this.failure.value = null;
    try {
      if (inTab || !this._lab.notebooks.current.value) {
        await this._lab.execute(Command.openComparison, { runs });
      } else {
        const source = `%mlops_compare ${runs.join(' ')}`;
        await this._lab.notebooks.add({ setup: SETUP_SOURCE, source, run: true, roomy: true });
      }
    } catch (error) {
      this.failure.value = asApiError(error);
    } finally {
      this.comparing.value = false;
    }
  }

  private async _freshen(): Promise<void> {
    const ids = (this.runs.value ?? []).filter(isLive).map(run => run.run_id);
    // A rejection reaches the poll, which then waits longer.
    const fresh = await this._lab.api.freshen(ids.slice(0, MOST));
    if (this.runs.value) {
      this.runs.value = mergeFresh(this.runs.value, fresh);
    }
  }

  private _followServer(): void {
    const state = this._lab.connection.value;
    const away = !this._wasConnected;
    this._wasConnected = this.connected;
    if (state?.status === 'unreachable' && this._server !== null) {
      // Runs and ticks wait for its return.
      return;
    }
    const server = this.connected ? `${state?.uri} ${state?.user}` : null;
    if (server !== this._server) {
      this._server = server;
      this._forget();
      this.experiment.value = null;
      this.experiments.value = [];
      void this.refresh();
    } else if (away) {
      void this.refresh();
    }
  }

  private _forget(): void {
    this.runs.value = null;
    this.error.value = null;
    this.failure.value = null;
    this._setToken(null);
    this.clearTicks();
  }

  private _setToken(token: string | null): void {
    this._token = token;
    this.more.value = token !== null;
  }

  private _server: string | null = null;
  private _wasConnected = false;
  private _token: string | null = null;
  private _turn = 0;
  private _timers: number[] = [];
}

/** What the search is asked for: no experiment means all that the user may see. */
function where(experiment: string): string[] {
  return experiment === EVERY ? [] : [experiment];
}
