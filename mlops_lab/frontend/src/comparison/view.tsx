/**
 * The comparison on the screen: first whether the runs may be compared, then what differs, then the figures.
 */
import type { TranslationBundle } from '@jupyterlab/translation';
import { checkIcon, infoIcon, LabIcon } from '@jupyterlab/ui-components';
import { lazy, ReactElement, Suspense } from 'react';

import type { Comparison, SharedData } from '../contract';
import { moment } from '../format';
import { Notice, Skeleton } from '../panel/elements';
import { differentIcon } from '../panel/icons';
import { drawable, mainVerdict, readComparison, runLabels } from './document';
import { MetricsTable, ParamsTable, RunsTable } from './tables';

const Charts = lazy(() => import('./charts'));

interface IProps {
  document: unknown;
  trans: TranslationBundle;
  language?: string;
}

/** For callers that are no components themselves. */
export function renderComparison(document: unknown, trans: TranslationBundle, language?: string): ReactElement {
  return <ComparisonView document={document} trans={trans} language={language} />;
}

export default function ComparisonView({ document, trans, language }: IProps): ReactElement {
  const comparison = readComparison(document);
  if (comparison === 'newer') {
    return (
      <Notice
        tone="warn"
        text={trans.__('This comparison was made by a newer mlops_lab than the one installed here.')}
        hint={trans.__('Update mlops-lab to see it.')}
      />
    );
  }
  if (comparison === 'damaged') {
    return (
      <Notice
        tone="error"
        text={trans.__('This comparison cannot be read: its document is not complete.')}
        hint={trans.__('Run its cell again.')}
      />
    );
  }
  const labels = runLabels(comparison.runs);
  const curves = drawable(comparison.curves);
  const shared = { comparison, labels, trans, language };
  return (
    <article className="mlops-Comparison" data-testid="mlops-comparison" aria-label={trans.__('Comparison of runs')}>
      <Verdict comparison={comparison} trans={trans} />
      <RunsTable {...shared} />
      <MetricsTable {...shared} />
      <ParamsTable {...shared} />
      {curves.length > 0 && (
        <section>
          <h3>{trans.__('Curves')}</h3>
          <Suspense fallback={<Skeleton label={trans.__('Drawing the curves')} lines={6} />}>
            <Charts curves={curves} runs={comparison.runs} labels={labels} trans={trans} />
          </Suspense>
        </section>
      )}
      <footer className="mlops-soft">
        {comparison.notes.map(note => (
          <p key={note}>{note}</p>
        ))}
        {comparison.created && (
          <p>{trans.__('Made %1 from %2.', moment(comparison.created, language), comparison.server)}</p>
        )}
      </footer>
    </article>
  );
}

/** May these runs be compared? Said in words, with an icon; the colour only repeats it. */
function Verdict({ comparison, trans }: { comparison: Comparison; trans: TranslationBundle }): ReactElement | null {
  const main = mainVerdict(comparison.shared);
  if (!main) {
    return null;
  }
  const rest = comparison.shared.filter(one => one !== main);
  const { icon: Icon, tone } = look(main);
  return (
    <section
      className="mlops-Verdict"
      data-tone={tone}
      data-testid="mlops-verdict"
      aria-label={trans.__('Shared data')}
    >
      <Icon.react tag="span" className="mlops-Icon" aria-hidden="true" />
      <div>
        <h3>{headline(main, trans)}</h3>
        <p>{main.statement}</p>
        {rest.length > 0 && (
          <ul>
            {rest.map(one => {
              const { icon: Small, tone: smallTone } = look(one);
              return (
                // Only different test data spoil a comparison; different training data are often its purpose.
                <li key={one.role} data-tone={smallTone === 'bad' ? 'plain' : smallTone}>
                  <Small.react tag="span" className="mlops-Icon" aria-hidden="true" />
                  <span>{one.statement}</span>
                </li>
              );
            })}
          </ul>
        )}
      </div>
    </section>
  );
}

function headline(shared: SharedData, trans: TranslationBundle): string {
  const test = shared.role === 'test';
  if (shared.same === null) {
    return test ? trans.__('Test data unknown') : trans.__('Data unknown');
  }
  if (shared.same) {
    return test ? trans.__('Same test data') : trans.__('Same data');
  }
  return test ? trans.__('Different test data') : trans.__('Different data');
}

function look(shared: SharedData): { icon: LabIcon; tone: 'good' | 'bad' | 'plain' } {
  if (shared.same === null) {
    return { icon: infoIcon, tone: 'plain' };
  }
  return shared.same ? { icon: checkIcon, tone: 'good' } : { icon: differentIcon, tone: 'bad' };
}
