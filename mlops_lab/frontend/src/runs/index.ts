/**
 * The runs room: experiments, their newest runs, and which of them to compare.
 */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { refreshIcon } from '@jupyterlab/ui-components';
import { createElement, lazy } from 'react';

import { IconButton } from '../panel/elements';
import { useStore } from '../store';
import { Command, IMlopsLab } from '../tokens';
import { RunsModel } from './model';

const plugin: JupyterFrontEndPlugin<void> = {
  id: 'mlops-lab:runs',
  description: 'Lists runs and compares them.',
  autoStart: true,
  requires: [IMlopsLab],
  optional: [ICommandPalette],
  activate: (app: JupyterFrontEnd, lab: IMlopsLab, palette: ICommandPalette | null) => {
    const { trans } = lab;
    const model = new RunsModel(lab);
    const Section = lazy(() => import('./section'));
    lab.addSection({
      id: 'runs',
      title: trans.__('Runs'),
      rank: 40,
      body: () => createElement(Section, { lab, model }),
      tools: function Tools() {
        return createElement(IconButton, {
          icon: refreshIcon,
          label: trans.__('Read the runs again'),
          testId: 'mlops-refresh-runs',
          busy: useStore(model.loading),
          onClick: () => void model.refresh()
        });
      }
    });
    app.commands.addCommand(Command.compare, {
      label: trans.__('Compare Ticked Runs'),
      isEnabled: () => model.ticked.value.size > 1,
      execute: () => model.compare(false)
    });
    palette?.addItem({ command: Command.compare, category: trans.__('MLOps Lab') });
  }
};

export default plugin;
