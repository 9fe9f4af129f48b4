/**
 * What the panel remembers across reloads: open sections, the picked version, the chosen experiment. No secrets.
 */
import type { IStateDB } from '@jupyterlab/statedb';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';

const KEY = 'mlops-lab:panel';

/** What is kept. Every part may be missing. */
export interface IRemembered {
  /** Per section: is it unfolded? */
  open: Record<string, boolean>;
  /** Per repository: spec of the picked version. */
  picked: Record<string, string>;
  /** The experiment whose runs are listed. */
  experiment: string | null;
  /** The experiment that training cells name; empty for the dataset's name. */
  target: string;
  /** Per experiment: the metric shown in the list of runs. */
  metric: Record<string, string>;
}

/** A small document in JupyterLab's state database, read once and written on change. */
export class Memory {
  constructor(private readonly _db: IStateDB | null) {
    this.ready = this._load();
  }

  readonly ready: Promise<void>;

  get value(): IRemembered {
    return this._value;
  }

  update(change: Partial<IRemembered>): void {
    this._value = { ...this._value, ...change };
    void this._db?.save(KEY, this._value as unknown as ReadonlyPartialJSONObject);
  }

  private async _load(): Promise<void> {
    try {
      const kept = (await this._db?.fetch(KEY)) as Partial<IRemembered> | undefined;
      this._value = { ...this._value, ...kept };
    } catch (error) {
      console.warn('mlops-lab: the state of the panel could not be read.', error);
    }
  }

  private _value: IRemembered = { open: {}, picked: {}, experiment: null, target: '', metric: {} };
}
