/**
 * The connection room: which tracking server, and who we are there.
 */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { createElement, lazy } from 'react';

import { Command, IMlopsLab } from '../tokens';
import { ConnectionModel } from './model';

const plugin: JupyterFrontEndPlugin<void> = {
  id: 'mlops-lab:connection',
  description: 'Starts the embedded MLflow server, logs in and out.',
  autoStart: true,
  requires: [IMlopsLab],
  optional: [ICommandPalette],
  activate: (app: JupyterFrontEnd, lab: IMlopsLab, palette: ICommandPalette | null) => {
    const { trans } = lab;
    const model = new ConnectionModel(lab);
    const Section = lazy(() => import('./section'));
    const Status = lazy(() => import('./status'));
    lab.addSection({
      id: 'connection',
      title: trans.__('Connection'),
      rank: 10,
      body: () => createElement(Section, { lab, model }),
      status: () => createElement(Status, { lab, model })
    });
    app.commands.addCommand(Command.startServer, {
      label: trans.__('Start Local MLflow Server'),
      execute: () => {
        lab.reveal('connection');
        return model.start();
      }
    });
    app.commands.addCommand(Command.stopServer, {
      label: trans.__('Stop Local MLflow Server'),
      execute: () => model.stop()
    });
    for (const command of [Command.startServer, Command.stopServer]) {
      palette?.addItem({ command, category: trans.__('MLOps Lab') });
    }
  }
};

export default plugin;
