/**
 * The training room: a MONAI recipe and a few values become a cell that the user owns.
 */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { createElement, lazy } from 'react';

import { Command, IMlopsLab } from '../tokens';
import { TrainingModel } from './model';

const plugin: JupyterFrontEndPlugin<void> = {
  id: 'mlops-lab:training',
  description: 'Makes training cells from MONAI recipes.',
  autoStart: true,
  requires: [IMlopsLab],
  optional: [ICommandPalette],
  activate: (app: JupyterFrontEnd, lab: IMlopsLab, palette: ICommandPalette | null) => {
    const { trans } = lab;
    const model = new TrainingModel(lab);
    const Section = lazy(() => import('./section'));
    lab.addSection({
      id: 'training',
      title: trans.__('Training'),
      rank: 30,
      body: () => createElement(Section, { lab, model })
    });
    app.commands.addCommand(Command.insertCell, {
      label: trans.__('Insert Training Cell'),
      isEnabled: () => lab.picked.value !== null && lab.notebooks.current.value !== null,
      execute: async () => {
        lab.reveal('training');
        await model.load();
        await model.insert(false, false);
      }
    });
    palette?.addItem({ command: Command.insertCell, category: trans.__('MLOps Lab') });
  }
};

export default plugin;
