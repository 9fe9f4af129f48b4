/**
 * The plugin that makes the sidebar's panel and what the rooms share.
 */
import { ILayoutRestorer, JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, ISessionContextDialogs } from '@jupyterlab/apputils';
import { IDefaultFileBrowser } from '@jupyterlab/filebrowser';
import { INotebookTracker } from '@jupyterlab/notebook';
import { IStateDB } from '@jupyterlab/statedb';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { Api } from '../api';
import type { ConnectionState, DatasetVersion } from '../contract';
import { Notebooks } from '../notebook/notebooks';
import { Store } from '../store';
import { Command, IMlopsLab, ISection } from '../tokens';
import { mlopsIcon } from './icons';
import { Memory } from './memory';
import { LabPanel } from './widget';

/** Below the file browser (100), above the running sessions (200). */
const RANK = 150;

const plugin: JupyterFrontEndPlugin<IMlopsLab> = {
  id: 'mlops-lab:panel',
  description: 'The sidebar of mlops_lab.',
  autoStart: true,
  provides: IMlopsLab,
  requires: [INotebookTracker],
  optional: [IDefaultFileBrowser, ILayoutRestorer, ICommandPalette, IStateDB, ISessionContextDialogs, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    tracker: INotebookTracker,
    browser: IDefaultFileBrowser | null,
    restorer: ILayoutRestorer | null,
    palette: ICommandPalette | null,
    db: IStateDB | null,
    dialogs: ISessionContextDialogs | null,
    translator: ITranslator | null
  ): IMlopsLab => {
    const translation = translator ?? nullTranslator;
    const trans = translation.load('mlops_lab');
    const memory = new Memory(db);
    const api = new Api(app.serviceManager.serverSettings, trans);
    const panel = new LabPanel(api, memory, trans);
    const lab: IMlopsLab = {
      api,
      trans,
      language: translation.languageCode.replace('_', '-') || undefined,
      notebooks: new Notebooks(tracker, browser, id => app.shell.activateById(id), translation, trans, dialogs),
      memory,
      visible: panel.shown,
      connection: new Store<ConnectionState | null>(null),
      picked: new Store<DatasetVersion | null>(null),
      addSection: (section: ISection) => {
        panel.sections.value = [...panel.sections.value, section].sort((a, b) => a.rank - b.rank);
      },
      reveal: section => {
        app.shell.activateById(panel.id);
        if (section) {
          panel.setOpen(section, true);
          requestAnimationFrame(() => {
            const node = panel.node.querySelector<HTMLElement>(`[data-section="${section}"]`);
            node?.scrollIntoView({ block: 'nearest' });
            node?.querySelector<HTMLElement>('h2 > button')?.focus();
          });
        }
      },
      execute: (command, args) => app.commands.execute(command, args)
    };
    app.shell.add(panel, 'left', { rank: RANK, type: 'MLOps Lab' });
    restorer?.add(panel, panel.id);
    app.commands.addCommand(Command.openPanel, {
      label: trans.__('Show MLOps Lab'),
      icon: mlopsIcon,
      execute: args => lab.reveal(typeof args.section === 'string' ? args.section : undefined),
      describedBy: {
        args: {
          type: 'object',
          properties: {
            section: { type: 'string', description: trans.__('The section to unfold.') }
          }
        }
      }
    });
    palette?.addItem({ command: Command.openPanel, category: trans.__('MLOps Lab') });
    return lab;
  }
};

export default plugin;
