/**
 * The catalogue of the project that the active notebook lives in, and the version that the user picked.
 */
import { ApiError, asApiError } from '../api';
import type { Catalogue, DatasetVersion } from '../contract';
import { SETUP_SOURCE } from '../notebook/notebooks';
import { Store } from '../store';
import type { IMlopsLab } from '../tokens';

/** Milliseconds in which several changes of notebook or folder count as one. */
const SETTLE = 150;

export class DatasetsModel {
  constructor(private readonly _lab: IMlopsLab) {
    _lab.notebooks.path.subscribe(() => this._later());
    _lab.visible.subscribe(() => this._later());
    _lab.api.trouble.subscribe(() => {
      if (!_lab.api.trouble.value && this.error.value) {
        void this.refresh();
      }
    });
    this._later();
  }

  readonly catalogue = new Store<Catalogue | null>(null);
  readonly error = new Store<ApiError | null>(null);
  readonly loading = new Store(false);

  async refresh(): Promise<void> {
    this._request?.abort();
    const request = (this._request = new AbortController());
    const path = this._lab.notebooks.path.value;
    this.loading.value = true;
    try {
      await this._lab.memory.ready;
      const catalogue = await this._lab.api.datasets(path, request.signal);
      this.error.value = null;
      this.catalogue.value = catalogue;
      this._pickAgain(catalogue);
      this._shownFor = path;
    } catch (error) {
      if (request.signal.aborted) {
        return;
      }
      this.error.value = asApiError(error);
      this.catalogue.value = null;
      this._lab.picked.value = null;
      this._shownFor = path;
    } finally {
      if (this._request === request) {
        this.loading.value = false;
      }
    }
  }

  pick(version: DatasetVersion): void {
    this._lab.picked.value = version;
    const repository = this.catalogue.value?.repository;
    if (repository) {
      const { picked } = this._lab.memory.value;
      this._lab.memory.update({ picked: { ...picked, [repository]: version.spec } });
    }
  }

  /** Insert the cell that makes `version` available. */
  use(version: DatasetVersion): Promise<void> {
    return this._lab.notebooks.add({
      setup: SETUP_SOURCE,
      source: `%mlops_use ${version.spec} --as data_dir`,
      run: false
    });
  }

  private _later(): void {
    window.clearTimeout(this._timer);
    if (!this._lab.visible.value || this._lab.notebooks.path.value === this._shownFor) {
      return;
    }
    this.loading.value = true;
    this._timer = window.setTimeout(() => void this.refresh(), SETTLE);
  }

  private _pickAgain(catalogue: Catalogue): void {
    const spec = this._lab.memory.value.picked[catalogue.repository];
    const versions = catalogue.datasets.flatMap(dataset => dataset.versions);
    this._lab.picked.value = versions.find(version => version.spec === spec) ?? null;
  }

  private _request: AbortController | null = null;
  private _shownFor: string | null = null;
  private _timer = 0;
}
