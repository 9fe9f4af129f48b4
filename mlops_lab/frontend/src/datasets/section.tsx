/**
 * The datasets section: versions newest first, one of them picked.
 */
import { PathExt } from '@jupyterlab/coreutils';
import { ReactElement, useState } from 'react';

import { ApiError, asApiError } from '../api';
import type { Dataset, DatasetVersion } from '../contract';
import { bytes, day, moment } from '../format';
import { Button, Empty, Failure, Notice, Skeleton } from '../panel/elements';
import { useStore } from '../store';
import type { IMlopsLab } from '../tokens';
import type { DatasetsModel } from './model';

/** Versions shown before the reader asks for all. */
const FEW = 6;
/** Answers that are no faults: this place simply has no datasets. */
const NOTHING_HERE = ['no_repository', 'not_dvc'];

interface IProps {
  lab: IMlopsLab;
  model: DatasetsModel;
}

export default function DatasetsSection({ lab, model }: IProps): ReactElement {
  const { trans } = lab;
  const catalogue = useStore(model.catalogue);
  const error = useStore(model.error);
  const loading = useStore(model.loading);
  const picked = useStore(lab.picked);
  const again = () => void model.refresh();

  if (!catalogue && !error && loading) {
    return <Skeleton label={trans.__('Reading the dataset versions')} />;
  }
  if (error && !NOTHING_HERE.includes(error.code)) {
    return <Failure error={error} again={again} label={trans.__('Try again')} />;
  }
  if (!catalogue || catalogue.datasets.length === 0) {
    return (
      <Empty
        text={error?.message ?? trans.__('This project has no datasets under DVC yet.')}
        hint={error?.hint ?? trans.__('Track a folder with "dvc add", commit the .dvc file, and refresh.')}
        testId="mlops-no-datasets"
      >
        <Button onClick={again}>{trans.__('Refresh')}</Button>
      </Empty>
    );
  }
  return (
    <div data-testid="mlops-datasets" aria-busy={loading}>
      <p className="mlops-Where" title={catalogue.repository}>
        {trans.__('Project')} <strong>{PathExt.basename(catalogue.repository)}</strong>
      </p>
      {catalogue.notice && <Notice tone="info" text={catalogue.notice} />}
      {catalogue.datasets.map(dataset => (
        <Versions key={dataset.path} lab={lab} model={model} dataset={dataset} picked={picked} />
      ))}
      {picked ? <UsePicked lab={lab} model={model} version={picked} /> : null}
    </div>
  );
}

function Versions(props: IProps & { dataset: Dataset; picked: DatasetVersion | null }): ReactElement {
  const { dataset, lab, model, picked } = props;
  const { trans } = lab;
  const [all, setAll] = useState(false);
  const { versions } = dataset;
  // The picked version is never folded away.
  const few = versions.filter((version, index) => index < FEW || isSame(version, picked));
  const shown = all ? versions : few;
  return (
    <fieldset className="mlops-Dataset" data-testid={`mlops-dataset-${dataset.name}`}>
      <legend title={dataset.path}>
        <strong>{dataset.name}</strong>{' '}
        <span className="mlops-soft">{trans._n('%1 version', '%1 versions', versions.length)}</span>
      </legend>
      {shown.map(version => (
        <Version
          key={version.md5 + version.spec}
          lab={lab}
          version={version}
          picked={isSame(version, picked)}
          onPick={() => model.pick(version)}
        />
      ))}
      {versions.length > few.length && (
        <Button look="link" onClick={() => setAll(!all)} aria-expanded={all}>
          {all ? trans.__('Show fewer') : trans.__('Show all %1', versions.length)}
        </Button>
      )}
    </fieldset>
  );
}

function Version(props: {
  lab: IMlopsLab;
  version: DatasetVersion;
  picked: boolean;
  onPick: () => void;
}): ReactElement {
  const { trans, language } = props.lab;
  const { version } = props;
  const here = version.where.length > 0;
  const facts = [
    version.nfiles === null ? null : trans._n('%1 file', '%1 files', version.nfiles),
    version.size === null ? null : bytes(version.size),
    version.where.includes('workspace')
      ? trans.__('in workspace')
      : here
        ? trans.__('in cache')
        : trans.__('to be fetched')
  ].filter(fact => fact !== null);
  const labels = version.labels.filter(
    label => label !== version.version && label !== `${version.name}@${version.version}`
  );
  return (
    <label
      className="mlops-Version"
      data-picked={props.picked}
      data-testid={`mlops-version-${version.spec}`}
      title={trans.__(
        '%1\n%2\nCommit %3, %4\nmd5 %5',
        version.spec,
        version.message,
        version.commit.slice(0, 10),
        moment(version.date, language),
        version.md5
      )}
    >
      <input
        type="radio"
        name="mlops-version"
        checked={props.picked}
        onChange={props.onPick}
        aria-label={trans.__('Pick %1', version.spec)}
      />
      <span className="mlops-VersionText">
        <span className="mlops-Line">
          <strong className="mlops-VersionName">{version.version}</strong>
          {labels.map(label => (
            <span key={label} className="mlops-Chip">
              {label}
            </span>
          ))}
        </span>
        <span className="mlops-soft mlops-Facts-line">
          {day(version.date)} · {version.author}
        </span>
        <span className="mlops-soft mlops-Facts-line">{facts.join(' · ')}</span>
      </span>
    </label>
  );
}

function UsePicked({ lab, model, version }: IProps & { version: DatasetVersion }): ReactElement {
  const { trans } = lab;
  const notebook = useStore(lab.notebooks.current);
  const [error, setError] = useState<ApiError | null>(null);
  const use = () => {
    setError(null);
    model.use(version).catch((failure: unknown) => setError(asApiError(failure)));
  };
  return (
    <div className="mlops-Foot">
      <div className="mlops-Row">
        <Button
          onClick={use}
          disabled={!notebook}
          testId="mlops-use-in-notebook"
          title={
            notebook
              ? trans.__('Insert a cell that makes %1 available as data_dir', version.spec)
              : trans.__('Open a notebook first')
          }
        >
          {trans.__('Use in notebook')}
        </Button>
        <span className="mlops-soft">{version.spec}</span>
      </div>
      {error && <Failure error={error} />}
    </div>
  );
}

function isSame(version: DatasetVersion, picked: DatasetVersion | null): boolean {
  return picked !== null && version.spec === picked.spec && version.md5 === picked.md5;
}
