/**
 * Recipes, the values of the form, and the way from both to a cell in the notebook.
 */
import { Dialog, showDialog } from '@jupyterlab/apputils';

import { ApiError, asApiError } from '../api';
import type { KernelEnvironment, Recipe } from '../contract';
import { Store } from '../store';
import type { IMlopsLab } from '../tokens';

type Values = Record<string, unknown>;
export type Doing = 'insert' | 'run' | null;

export class TrainingModel {
  constructor(private readonly _lab: IMlopsLab) {
    const check = () => void this.checkKernel();
    _lab.notebooks.kernel.subscribe(check);
    const load = () => void this.load();
    _lab.visible.subscribe(check);
    _lab.visible.subscribe(load);
    _lab.api.trouble.subscribe(load);
    void _lab.memory.ready.then(() => {
      this.experiment.value ||= _lab.memory.value.target;
    });
  }

  readonly recipes = new Store<readonly Recipe[] | null>(null);
  readonly recipe = new Store<Recipe | null>(null);
  readonly values = new Store<Values>({});
  /** Name of the experiment that the cell trains in; empty for the dataset's name. */
  readonly experiment = new Store('');
  /** Whether the form's values fit its schema. */
  readonly valid = new Store(true);
  /** Why the recipes could not be read. */
  readonly error = new Store<ApiError | null>(null);
  /** Why the last cell could not be made. */
  readonly failure = new Store<ApiError | null>(null);
  readonly environment = new Store<KernelEnvironment | null>(null);
  readonly doing = new Store<Doing>(null);

  async load(force = false): Promise<void> {
    if (!this._lab.visible.value || (this.recipes.value && !force) || this._loading || this._lab.api.trouble.value) {
      return;
    }
    this._loading = true;
    this.error.value = null;
    try {
      const recipes = await this._lab.api.recipes();
      this.recipes.value = recipes;
      this.choose(recipes[0]?.name ?? '');
    } catch (error) {
      this.error.value = asApiError(error);
    } finally {
      this._loading = false;
    }
  }

  choose(name: string): void {
    const recipe = this.recipes.value?.find(one => one.name === name) ?? null;
    if (recipe !== this.recipe.value) {
      this.recipe.value = recipe;
      this.values.value = recipe ? defaults(recipe) : {};
      this.valid.value = true;
    }
  }

  /** Name the experiment of the next training cells. */
  trainIn(experiment: string): void {
    this.experiment.value = experiment;
    this._lab.memory.update({ target: experiment });
  }

  /** Take recipe, values and experiment over from the active training cell. */
  adopt(): void {
    const marked = this._lab.notebooks.marked.value;
    if (marked && this.recipes.value?.some(one => one.name === marked.mark.recipe)) {
      this.choose(marked.mark.recipe);
      this.values.value = { ...this.values.value, ...marked.mark.values };
      this.trainIn(marked.mark.experiment);
    }
  }

  /** Ask whether the notebook's kernel has what a training cell imports. */
  async checkKernel(again = false): Promise<KernelEnvironment | null> {
    const kernel = this._lab.notebooks.kernel.value;
    if (!kernel || !this._lab.visible.value) {
      this.environment.value = null;
      return null;
    }
    if (!again && this.environment.value?.kernel === kernel && this.environment.value.ready) {
      return this.environment.value;
    }
    try {
      const environment = await this._lab.api.environment(kernel);
      if (this._lab.notebooks.kernel.value === kernel) {
        this.environment.value = environment;
      }
      return environment;
    } catch {
      // Not knowing is no reason to refuse: the cell itself says what it lacks.
      this.environment.value = null;
      return null;
    }
  }

  /** Make the cell, and put it into the notebook; `update` puts it into the active cell. */
  async insert(run: boolean, update: boolean): Promise<void> {
    const recipe = this.recipe.value;
    const data = this._lab.picked.value;
    // What is in front now is meant, even if another notebook or cell comes to the front meanwhile.
    const panel = this._lab.notebooks.current.value;
    const marked = update ? this._lab.notebooks.markedNow() : null;
    if (!recipe || !data || this.doing.value) {
      return;
    }
    this.doing.value = run ? 'run' : 'insert';
    this.failure.value = null;
    try {
      if (run) {
        const environment = await this.checkKernel();
        if (environment && !environment.ready) {
          return;
        }
      }
      let replace = marked !== null;
      if (marked?.edited) {
        const answer = await this._askReplace();
        if (answer === null) {
          return;
        }
        replace = answer;
      }
      const experiment = this.experiment.value.trim();
      const mark = { recipe: recipe.name, data: data.spec, values: this.values.value, experiment };
      const { setup, source } = await this._lab.api.cell(mark);
      await this._lab.notebooks.add({ setup, source, run, replace: replace ? marked?.id : undefined, panel, mark });
    } catch (error) {
      this.failure.value = asApiError(error);
    } finally {
      this.doing.value = null;
    }
  }

  /** True: replace; false: insert below; null: leave everything. */
  private async _askReplace(): Promise<boolean | null> {
    const { trans } = this._lab;
    const result = await showDialog({
      title: trans.__('Replace your changes?'),
      body: trans.__('You edited this training cell after it was inserted. Updating it replaces your changes.'),
      buttons: [
        Dialog.cancelButton({ label: trans.__('Cancel') }),
        Dialog.okButton({ label: trans.__('Insert a new cell') }),
        Dialog.warnButton({ label: trans.__('Replace'), accept: true, actions: ['replace'] })
      ],
      defaultButton: 1
    });
    return result.button.accept ? result.button.actions.includes('replace') : null;
  }

  private _loading = false;
}

/** The recipe's own values. The form must not fill them in by itself: what a user has emptied is to be seen as empty. */
function defaults(recipe: Recipe): Values {
  const fields = (recipe.schema.properties ?? {}) as Record<string, { default?: unknown }>;
  return Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, field.default ?? null]));
}
