/**
 * The comparison room: one document, drawn in notebook outputs and in a tab.
 */
import { ILayoutRestorer, JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { MainAreaWidget, WidgetTracker } from '@jupyterlab/apputils';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { Command, IMlopsLab } from '../tokens';
import { RANK, rendererFactory } from './mime';
import type { ComparisonTab } from './tab';

/** Depends on no panel, so that saved comparisons show in every application that renders notebooks. */
const output: JupyterFrontEndPlugin<void> = {
  id: 'mlops-lab:comparison-output',
  description: 'Draws comparisons in notebook outputs.',
  autoStart: true,
  requires: [IRenderMimeRegistry],
  optional: [ITranslator],
  activate: (_app: JupyterFrontEnd, registry: IRenderMimeRegistry, translator: ITranslator | null) => {
    const translation = translator ?? nullTranslator;
    const language = translation.languageCode.replace('_', '-') || undefined;
    registry.addFactory(rendererFactory(translation.load('mlops_lab'), language), RANK);
  }
};

const tab: JupyterFrontEndPlugin<void> = {
  id: 'mlops-lab:comparison',
  description: 'Opens comparisons in tabs.',
  autoStart: true,
  requires: [IMlopsLab],
  optional: [ILayoutRestorer],
  activate: (app: JupyterFrontEnd, lab: IMlopsLab, restorer: ILayoutRestorer | null) => {
    const { trans } = lab;
    const tracker = new WidgetTracker<MainAreaWidget<ComparisonTab>>({ namespace: 'mlops-lab-comparison' });
    app.commands.addCommand(Command.openComparison, {
      label: trans.__('Open Comparison'),
      describedBy: {
        args: {
          type: 'object',
          required: ['runs'],
          properties: {
            runs: { type: 'array', items: { type: 'string' }, description: trans.__('Ids of the runs.') },
            path: { type: 'string', description: trans.__('The notebook or folder whose project they belong to.') }
          }
        }
      },
      execute: async args => {
        const runs = Array.isArray(args.runs) ? args.runs.map(String) : [];
        if (runs.length < 2) {
          return;
        }
        const { makeTab, tabId } = await import('./tab');
        const known = tracker.find(widget => widget.id === tabId(runs));
        const widget =
          known ?? makeTab(lab, runs, typeof args.path === 'string' ? args.path : lab.notebooks.path.value);
        if (!known) {
          await tracker.add(widget);
          app.shell.add(widget, 'main', { type: 'MLOps Lab' });
        }
        app.shell.activateById(widget.id);
      }
    });
    void restorer?.restore(tracker, {
      command: Command.openComparison,
      args: ({ content }) => ({ runs: [...content.runs], path: content.path }),
      name: widget => widget.id
    });
  }
};

export default [output, tab];
