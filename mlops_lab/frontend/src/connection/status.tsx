/**
 * The connection in one icon and one word, for the section's heading.
 */
import React, { ReactElement } from 'react';

import { Badge } from '../panel/elements';
import { useStore } from '../store';
import type { IMlopsLab } from '../tokens';
import type { ConnectionModel } from './model';

export default function Status({ lab, model }: { lab: IMlopsLab; model: ConnectionModel }): ReactElement | null {
  const state = useStore(lab.connection);
  const error = useStore(model.error);
  const doing = useStore(model.doing);
  const { trans } = lab;
  const badge = (tone: React.ComponentProps<typeof Badge>['tone'], word: string) => (
    <Badge tone={tone} testId="mlops-connection-status">
      {word}
    </Badge>
  );
  if (doing === 'stop') {
    return badge('busy', trans.__('Stopping'));
  }
  if (state?.embedded.state === 'starting' || doing === 'start') {
    return badge('busy', trans.__('Starting'));
  }
  if (!state) {
    return error ? badge('bad', trans.__('Unknown')) : null;
  }
  switch (state.status) {
    case 'connected':
      return badge('good', trans.__('Connected'));
    case 'unreachable':
      return badge('bad', trans.__('Unreachable'));
    default:
      return badge('plain', trans.__('Not connected'));
  }
}
