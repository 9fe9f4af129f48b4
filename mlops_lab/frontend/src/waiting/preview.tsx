/**
 * "What would be sent": one run as it lies on this computer, in a dialog that can send it.
 */
import { Dialog, ReactWidget, showDialog } from '@jupyterlab/apputils';
import { ReactElement } from 'react';

import type { Preview } from '../contract';
import { bytes, metric, moment } from '../format';
import type { IMlopsLab } from '../tokens';

/** Entries of one list that are shown; nobody reads thousands in a dialog. */
const MOST = 200;
/** Lists of up to so many entries are open at first. */
const SHORT = 30;

type Entry = readonly [name: string, value: string];

/** Show `preview`; true when the user wants it sent. */
export async function showPreview(lab: IMlopsLab, preview: Preview, canSend: boolean): Promise<boolean> {
  const { trans } = lab;
  const close = Dialog.cancelButton({ label: trans.__('Close') });
  const send = Dialog.okButton({ label: trans.__('Send now') });
  const result = await showDialog({
    title: trans.__('What would be sent: %1', preview.name),
    body: ReactWidget.create(<PreviewView lab={lab} preview={preview} />),
    buttons: canSend ? [close, send] : [close],
    defaultButton: 0,
    focusNodeSelector: '.mlops-Preview',
    hasClose: true
  });
  return result.button.accept;
}

function PreviewView({ lab, preview }: { lab: IMlopsLab; preview: Preview }): ReactElement {
  const { trans, language } = lab;
  const points = preview.metrics.reduce((sum, one) => sum + one.points, 0);
  const words = {
    RUNNING: trans.__('still open'),
    FINISHED: trans.__('finished'),
    FAILED: trans.__('failed'),
    KILLED: trans.__('stopped'),
    LOST: trans.__('lost: its process died, and it will end as killed')
  };
  const facts = [
    preview.experiment,
    trans.__('begun %1', moment(preview.started, language)),
    words[preview.state],
    ...(preview.offline ? [trans.__('made offline')] : [])
  ];
  const metrics = preview.metrics.map(
    one => [one.name, trans._n('%1 point, last %2', '%1 points, last %2', one.points, metric(one.last))] as const
  );
  const files = [...preview.files].sort((a, b) => b.size - a.size).map(file => [file.name, bytes(file.size)] as const);
  return (
    <div className="mlops-Preview" data-testid="mlops-preview" tabIndex={-1}>
      <p className="mlops-soft">{facts.join(' · ')}</p>
      <p>
        {preview.server
          ? trans.__('%1 has the rest of this run already. This is still to be sent:', preview.server)
          : trans.__('No server has heard of this run. This is all that would leave this computer:')}
      </p>
      <Entries title={trans._n('%1 param', '%1 params', Object.keys(preview.params).length)} of={preview.params} />
      <Entries title={trans._n('%1 tag', '%1 tags', Object.keys(preview.tags).length)} of={preview.tags} />
      <Entries
        title={`${trans._n('%1 metric', '%1 metrics', metrics.length)}, ${trans._n('%1 point', '%1 points', points)}`}
        of={metrics}
      />
      <Entries
        title={trans._n('%1 dataset', '%1 datasets', preview.data.length)}
        of={preview.data.map(one => [one, ''] as const)}
      />
      <Entries
        title={`${trans._n('%1 file', '%1 files', files.length)}, ${bytes(preview.size)}`}
        of={files}
        note={files.length > 0 ? trans.__('The copies are in %1.', preview.folder) : ''}
      />
      {preview.unscreened.length > 0 && (
        <p className="mlops-soft">
          {trans.__('Looked through for identifiers before they are sent: %1.', preview.unscreened.join(', '))}
        </p>
      )}
    </div>
  );
}

function Entries(props: {
  title: string;
  of: Readonly<Record<string, string>> | readonly Entry[];
  note?: string;
}): ReactElement {
  const entries = Array.isArray(props.of) ? (props.of as readonly Entry[]) : Object.entries(props.of);
  if (entries.length === 0) {
    return <p className="mlops-soft">{props.title}</p>;
  }
  return (
    <details open={entries.length <= SHORT}>
      <summary>{props.title}</summary>
      <table>
        <tbody>
          {entries.slice(0, MOST).map(([name, value]) => (
            <tr key={name}>
              <th scope="row">{name}</th>
              <td>{value}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {entries.length > MOST && <p className="mlops-soft">+ {entries.length - MOST}</p>}
      {props.note && <p className="mlops-soft">{props.note}</p>}
    </details>
  );
}
