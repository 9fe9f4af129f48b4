/**
 * A run's status in an icon and a word; shared by the list and the comparison.
 */
import type { TranslationBundle } from '@jupyterlab/translation';
import { closeIcon, LabIcon, stopIcon } from '@jupyterlab/ui-components';

import type { RunRow } from '../contract';

interface IStatusBadge {
  tone: 'plain' | 'good' | 'warn' | 'bad' | 'busy';
  word: string;
  icon?: LabIcon;
}

export function statusBadge(status: RunRow['status'], trans: TranslationBundle): IStatusBadge {
  switch (status) {
    case 'RUNNING':
      return { tone: 'busy', word: trans.__('Running') };
    case 'SCHEDULED':
      return { tone: 'plain', word: trans.__('Scheduled') };
    case 'FAILED':
      return { tone: 'bad', word: trans.__('Failed'), icon: closeIcon };
    case 'KILLED':
      return { tone: 'warn', word: trans.__('Killed'), icon: stopIcon };
    default:
      return { tone: 'good', word: trans.__('Finished') };
  }
}
