/**
 * The comparison in a tab of its own: fetched from the server, and again on request.
 */
import { MainAreaWidget } from '@jupyterlab/apputils';
import { ReactWidget, refreshIcon, ToolbarButton } from '@jupyterlab/ui-components';
import { lazy, ReactElement, Suspense } from 'react';

import { ApiError, asApiError } from '../api';
import type { Comparison } from '../contract';
import { Failure, Skeleton } from '../panel/elements';
import { mlopsIcon } from '../panel/icons';
import { Store, useStore } from '../store';
import type { IMlopsLab } from '../tokens';

const ComparisonView = lazy(() => import('./view'));

/** What stands inside the tab. */
export class ComparisonTab extends ReactWidget {
  constructor(
    private readonly _lab: IMlopsLab,
    readonly runs: readonly string[],
    /** The notebook or folder whose project the runs belong to. */
    readonly path: string
  ) {
    super();
    this.addClass('mlops-Tab');
    void this.refresh();
  }

  readonly comparison = new Store<Comparison | null>(null);
  readonly error = new Store<ApiError | null>(null);

  async refresh(): Promise<void> {
    this.error.value = null;
    try {
      this.comparison.value = await this._lab.api.comparison({ run_ids: [...this.runs], path: this.path });
    } catch (error) {
      this.error.value = asApiError(error);
    }
  }

  protected render(): ReactElement {
    return <Content lab={this._lab} tab={this} />;
  }
}

/** Make the tab, with its title and toolbar. */
export function makeTab(lab: IMlopsLab, runs: readonly string[], path: string): MainAreaWidget<ComparisonTab> {
  const content = new ComparisonTab(lab, runs, path);
  const tab = new MainAreaWidget({ content });
  tab.id = tabId(runs);
  tab.title.label = lab.trans._n('Comparison of %1 run', 'Comparison of %1 runs', runs.length);
  tab.title.icon = mlopsIcon;
  tab.title.closable = true;
  tab.toolbar.addItem(
    'refresh',
    new ToolbarButton({
      icon: refreshIcon,
      tooltip: lab.trans.__('Read the runs again'),
      onClick: () => void content.refresh()
    })
  );
  return tab;
}

/** The same runs in the same order share one tab. */
export function tabId(runs: readonly string[]): string {
  return `mlops-lab-comparison:${runs.join(',')}`;
}

function Content({ lab, tab }: { lab: IMlopsLab; tab: ComparisonTab }): ReactElement {
  const comparison = useStore(tab.comparison);
  const error = useStore(tab.error);
  const waiting = <Skeleton label={lab.trans.__('Reading the runs')} lines={8} />;
  return (
    <>
      {error && <Failure error={error} again={() => void tab.refresh()} label={lab.trans.__('Try again')} />}
      {comparison ? (
        <Suspense fallback={waiting}>
          <ComparisonView document={comparison} trans={lab.trans} language={lab.language} />
        </Suspense>
      ) : (
        !error && waiting
      )}
    </>
  );
}
