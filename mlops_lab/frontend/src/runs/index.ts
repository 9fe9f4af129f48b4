/**
 * The runs room: experiments, their newest runs, and which of them to compare.
 */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { refreshIcon } from '@jupyterlab/ui-components';
import { createElement, lazy } from 'react';

import { Badge, IconButton } from '../panel/elements';
import { useStore } from '../store';
import { Command, IMlopsLab } from '../tokens';
import { WaitingModel } from '../waiting/model';
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
    const waiting = new WaitingModel(lab);
    waiting.sent.subscribe(() => void model.refresh());
    // Whenever a run may have appeared on the server, one may have been left here.
    model.loading.subscribe(() => !model.loading.value && void waiting.refresh());
    const Section = lazy(() => import('./section'));
    lab.addSection({
      id: 'runs',
      title: trans.__('Runs'),
      rank: 40,
      body: () => createElement(Section, { lab, model, waiting }),
      status: function Status() {
        const count = useStore(waiting.runs).length;
        return count === 0
          ? null
          : createElement(Badge, {
              tone: 'warn',
              testId: 'mlops-waiting-count',
              children: trans.__('%1 waiting', count)
            });
      },
      tools: function Tools() {
        return createElement(IconButton, {
          icon: refreshIcon,
          label: trans.__('Read the runs again'),
          testId: 'mlops-refresh-runs',
          busy: useStore(model.loading),
          onClick: () => {
            void model.refresh();
            void waiting.refresh();
          }
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
