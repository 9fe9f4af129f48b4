/**
 * The datasets room: every version of every dataset of the project, and which one to work with.
 */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { refreshIcon } from '@jupyterlab/ui-components';
import { createElement, lazy } from 'react';

import { IconButton } from '../panel/elements';
import { useStore } from '../store';
import { Command, IMlopsLab } from '../tokens';
import { DatasetsModel } from './model';

const plugin: JupyterFrontEndPlugin<void> = {
  id: 'mlops-lab:datasets',
  description: 'Lists the versions of the DVC datasets of the active notebook.',
  autoStart: true,
  requires: [IMlopsLab],
  optional: [ICommandPalette],
  activate: (app: JupyterFrontEnd, lab: IMlopsLab, palette: ICommandPalette | null) => {
    const { trans } = lab;
    const model = new DatasetsModel(lab);
    const Section = lazy(() => import('./section'));
    const refresh = () => void model.refresh();
    lab.addSection({
      id: 'datasets',
      title: trans.__('Datasets'),
      rank: 20,
      body: () => createElement(Section, { lab, model }),
      tools: function Tools() {
        return createElement(IconButton, {
          icon: refreshIcon,
          label: trans.__('Read the dataset versions again'),
          testId: 'mlops-refresh-datasets',
          busy: useStore(model.loading),
          onClick: refresh
        });
      }
    });
    app.commands.addCommand(Command.refreshDatasets, {
      label: trans.__('Refresh Dataset Versions'),
      execute: () => model.refresh()
    });
    palette?.addItem({ command: Command.refreshDatasets, category: trans.__('MLOps Lab') });
  }
};

export default plugin;
