/**
 * The notebook that the sidebar works for: which one is active, where it lives, and how cells get into it.
 */
import { ISessionContextDialogs, SessionContextDialogs } from '@jupyterlab/apputils';
import { Cell, isCodeCellModel } from '@jupyterlab/cells';
import type { FileBrowser } from '@jupyterlab/filebrowser';
import { INotebookTracker, NotebookActions, NotebookPanel } from '@jupyterlab/notebook';
import type { ITranslator, TranslationBundle } from '@jupyterlab/translation';
import type { JSONObject } from '@lumino/coreutils';

import { ApiError } from '../api';
import { Store } from '../store';
import { fingerprint, plan } from './plan';

/** What a training cell remembers of its making, in its metadata under `mlops_lab`. */
export interface IMark {
  recipe: string;
  values: Record<string, unknown>;
  data: string;
  experiment: string;
}

/** A cell to put into the active notebook. */
export interface INewCell {
  setup: string;
  source: string;
  run: boolean;
  /** Put it into the cell with this id instead of a new one. */
  replace?: string;
  /** The notebook that is meant; by default the active one. */
  panel?: NotebookPanel | null;
  mark?: IMark;
  /** Scroll so far that a large output has room below it. */
  roomy?: boolean;
}

/** The active cell, where it is one that we made. */
export interface IMarkedCell {
  id: string;
  mark: IMark;
  /** Its source differs from what we wrote. */
  edited: boolean;
}

export const SETUP_SOURCE = '%load_ext mlops_lab';
const KEY = 'mlops_lab';
/** Milliseconds for a kernel to answer a question. */
const KERNEL_TIME_LIMIT = 3_000;

/** Follows the active notebook and changes it on request. */
export class Notebooks {
  constructor(
    tracker: INotebookTracker,
    private readonly _browser: FileBrowser | null,
    private readonly _activate: (id: string) => void,
    private readonly _translator: ITranslator,
    private readonly _trans: TranslationBundle,
    dialogs: ISessionContextDialogs | null
  ) {
    this._dialogs = dialogs ?? new SessionContextDialogs({ translator: _translator });
    tracker.currentChanged.connect((_, panel) => this._follow(panel));
    tracker.activeCellChanged.connect(() => this._look());
    this._browser?.model.pathChanged.connect(() => this._locate());
    this._follow(tracker.currentWidget);
  }

  /** The notebook that has, or last had, the user's attention. */
  readonly current = new Store<NotebookPanel | null>(null);
  /** Its path, else the file browser's folder: the place whose project is meant. */
  readonly path = new Store<string>('');
  /** Name of the kernelspec of the active notebook. */
  readonly kernel = new Store<string | null>(null);
  /** The active cell when it is a training cell of ours. */
  readonly marked = new Store<IMarkedCell | null>(null);

  /**
   * Put a cell into the active notebook and bring it to the front.
   *
   * Resolves when the cell stands (and, with `run`, is handed to the kernel), not when it has run.
   */
  async add(cell: INewCell): Promise<void> {
    const panel = cell.panel ?? this.current.value;
    if (panel?.isDisposed) {
      throw new ApiError(
        'notebook_closed',
        this._trans.__('The notebook was closed before the cell could be inserted.'),
        this._trans.__('Open it again and repeat; nothing was run.')
      );
    }
    if (!panel) {
      throw new ApiError(
        'no_notebook',
        this._trans.__('No notebook is open.'),
        this._trans.__('Open the notebook that the cell belongs in.')
      );
    }
    await panel.revealed;
    const { content: notebook, sessionContext } = panel;
    const model = notebook.model;
    if (!model || model.readOnly) {
      throw new ApiError(
        'read_only',
        this._trans.__('This notebook cannot be changed.'),
        this._trans.__('Open a notebook that you may write to.')
      );
    }
    this._activate(panel.id);
    const shared = model.sharedModel;
    const meant = cell.replace === undefined ? -1 : shared.cells.findIndex(one => one.id === cell.replace);
    const active = meant < 0 ? notebook.activeCellIndex : meant;
    const here = shared.cells[active];
    const steps = plan(
      shared.cells.map(one => ({ type: one.cell_type, source: one.getSource() })),
      active,
      cell.setup,
      cell.source,
      meant >= 0
    );
    const mark =
      cell.mark && (JSON.parse(JSON.stringify({ ...cell.mark, made: fingerprint(cell.source) })) as JSONObject);
    shared.transact(() => {
      for (const { index, insert, source, role } of steps.edits) {
        const marked = role === 'body' && mark;
        if (insert) {
          const metadata = { trusted: true, ...(marked && { [KEY]: mark }) };
          shared.insertCell(index, { cell_type: 'code', source, metadata });
        } else if (here) {
          here.setSource(source);
          if (marked) {
            here.setMetadata(KEY, mark);
          }
        }
      }
    });
    notebook.deselectAll();
    notebook.activeCellIndex = steps.body;
    notebook.mode = 'command';
    await notebook.scrollToItem(steps.body, cell.roomy ? 'start' : 'smart');
    this._look();
    const setupIsNew = steps.edits.some(edit => edit.role === 'setup');
    if (cell.run) {
      await sessionContext.ready;
      const loaded = !setupIsNew && (await this._isLoaded(panel, steps.setup));
      const indices = loaded ? [steps.body] : [steps.setup, steps.body];
      const cells = indices.map(index => notebook.widgets[index]).filter((one): one is Cell => one !== undefined);
      void NotebookActions.runCells(notebook, cells, sessionContext, this._dialogs, this._translator);
    }
  }

  /** Ask the kernel whether the extension is loaded; a busy one cannot say, then the setup cell's count tells. */
  private async _isLoaded(panel: NotebookPanel, setup: number): Promise<boolean> {
    const kernel = panel.sessionContext.session?.kernel;
    if (kernel?.status === 'idle') {
      const question = kernel.requestExecute({
        code: '',
        silent: true,
        store_history: false,
        user_expressions: { loaded: "'mlops_lab' in get_ipython().extension_manager.loaded" }
      });
      const patience = new Promise<null>(resolve => window.setTimeout(() => resolve(null), KERNEL_TIME_LIMIT));
      const reply = await Promise.race([question.done, patience]);
      if (reply?.content.status === 'ok') {
        return JSON.stringify(reply.content.user_expressions).includes('True');
      }
    }
    const cell = panel.content.model?.cells.get(setup);
    return (
      cell !== undefined && isCodeCellModel(cell) && (cell.executionCount !== null || cell.executionState !== 'idle')
    );
  }

  private _follow(panel: NotebookPanel | null): void {
    this.current.value = panel;
    this._locate();
    this._ask();
    this._look();
    if (!panel || this._known.has(panel)) {
      return;
    }
    this._known.add(panel);
    panel.context.pathChanged.connect(() => this._locate());
    panel.sessionContext.kernelChanged.connect(() => this._ask());
    void panel.sessionContext.ready.then(() => this._ask());
    void panel.revealed.then(() => this._look());
  }

  private _locate(): void {
    this.path.value = this.current.value?.context.path ?? this._browser?.model.path ?? '';
  }

  private _ask(): void {
    const context = this.current.value?.sessionContext;
    this.kernel.value = context?.session?.kernel?.name ?? context?.kernelPreference.name ?? null;
  }

  private _look(): void {
    const cell = this.current.value?.content.activeCell?.model;
    const mark = cell?.getMetadata(KEY) as Partial<IMark & { made: string }> | undefined;
    if (cell?.type !== 'code' || typeof mark?.recipe !== 'string') {
      this.marked.value = null;
      return;
    }
    const edited = fingerprint(cell.sharedModel.getSource()) !== mark.made;
    const { recipe, values = {}, data = '', experiment = '' } = mark;
    this.marked.value = { id: cell.id, mark: { recipe, values, data, experiment }, edited };
  }

  /** Is the marked cell edited by hand? Asked at the moment of use, since typing sends no signal here. */
  markedNow(): IMarkedCell | null {
    this._look();
    return this.marked.value;
  }

  private readonly _dialogs: ISessionContextDialogs;
  private readonly _known = new WeakSet<NotebookPanel>();
}
