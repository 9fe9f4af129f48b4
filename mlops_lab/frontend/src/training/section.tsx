/**
 * The training section: recipe, form, data version, and the two buttons that make a cell of them.
 */
import { lazy, ReactElement, Suspense, useEffect, useId, useState } from 'react';

import { Button, Empty, Failure, Notice, Skeleton } from '../panel/elements';
import { useStore } from '../store';
import type { IMlopsLab } from '../tokens';
import type { TrainingModel } from './model';

const RecipeForm = lazy(() => import('./form'));

interface IProps {
  lab: IMlopsLab;
  model: TrainingModel;
}

export default function TrainingSection({ lab, model }: IProps): ReactElement {
  const { trans } = lab;
  const recipes = useStore(model.recipes);
  const recipe = useStore(model.recipe);
  const error = useStore(model.error);
  const select = useId();
  useEffect(() => {
    void model.load();
    void model.checkKernel();
  }, [model]);

  if (error) {
    return <Failure error={error} again={() => void model.load(true)} label={trans.__('Try again')} />;
  }
  if (!recipes) {
    return <Skeleton label={trans.__('Reading the recipes')} lines={5} />;
  }
  if (!recipe) {
    return <Empty text={trans.__('No training recipe is installed.')} />;
  }
  return (
    <div data-testid="mlops-training">
      <div className="mlops-Field">
        <label htmlFor={select}>{trans.__('Recipe')}</label>
        <select
          id={select}
          data-testid="mlops-recipe"
          value={recipe.name}
          onChange={event => model.choose(event.target.value)}
        >
          {recipes.map(one => (
            <option key={one.name} value={one.name}>
              {one.title}
            </option>
          ))}
        </select>
        {recipe.description && <p className="mlops-soft">{recipe.description}</p>}
      </div>
      <Data lab={lab} />
      <Experiment lab={lab} model={model} />
      <Suspense fallback={<Skeleton label={trans.__('Loading the form')} lines={5} />}>
        <RecipeForm lab={lab} model={model} recipe={recipe} />
      </Suspense>
      <Actions lab={lab} model={model} />
    </div>
  );
}

function Data({ lab }: { lab: IMlopsLab }): ReactElement {
  const { trans } = lab;
  const picked = useStore(lab.picked);
  return (
    <div className="mlops-Field mlops-DataRow">
      <span>{trans.__('Dataset')}</span>
      {picked ? (
        <span className="mlops-Value" data-testid="mlops-picked">
          {picked.spec}
        </span>
      ) : (
        <span className="mlops-Value mlops-soft" data-testid="mlops-picked">
          <Button look="link" onClick={() => lab.reveal('datasets')}>
            {trans.__('Pick a version above')}
          </Button>
        </span>
      )}
    </div>
  );
}

function Experiment({ lab, model }: IProps): ReactElement {
  const { trans } = lab;
  const picked = useStore(lab.picked);
  const id = useId();
  return (
    <div className="mlops-Field">
      <label htmlFor={id}>{trans.__('Experiment')}</label>
      <input
        id={id}
        type="text"
        spellCheck={false}
        autoComplete="off"
        data-testid="mlops-train-in"
        title={trans.__('The MLflow experiment that the run belongs to')}
        placeholder={picked ? picked.spec.split('@')[0] : trans.__("The dataset's name")}
        value={useStore(model.experiment)}
        onChange={event => model.trainIn(event.target.value)}
      />
    </div>
  );
}

function Actions({ lab, model }: IProps): ReactElement {
  const { trans } = lab;
  const notebook = useStore(lab.notebooks.current);
  const marked = useStore(lab.notebooks.marked);
  const environment = useStore(model.environment);
  const picked = useStore(lab.picked);
  const valid = useStore(model.valid);
  const doing = useStore(model.doing);
  const failure = useStore(model.failure);
  const [chosen, setChosen] = useState<{ cell: string; update: boolean } | null>(null);
  // A cell that trained on another version is the record of its run: it stays unless the user says otherwise.
  const wanted = chosen !== null && chosen.cell === marked?.id ? chosen.update : marked?.mark.data === picked?.spec;
  const update = marked !== null && wanted;
  const ready = picked !== null && valid;

  if (!notebook) {
    return (
      <div className="mlops-Foot">
        <Empty text={trans.__('Open a notebook: the training cell is inserted there.')} testId="mlops-no-notebook">
          <Button onClick={() => void lab.execute('notebook:create-new', { kernelName: 'python3' })}>
            {trans.__('New notebook')}
          </Button>
        </Empty>
        {failure && <Failure error={failure} />}
      </div>
    );
  }
  return (
    <div className="mlops-Foot">
      {environment && !environment.ready && (
        <Notice
          tone="warn"
          text={environment.message ?? trans.__('This kernel cannot run training cells.')}
          hint={environment.hint}
          testId="mlops-kernel-warning"
        >
          <Button onClick={() => void model.checkKernel(true)}>{trans.__('Check again')}</Button>
        </Notice>
      )}
      {marked && (
        <div className="mlops-Target" role="radiogroup" aria-label={trans.__('Where the cell goes')}>
          <label>
            <input
              type="radio"
              name="mlops-target"
              checked={update}
              data-testid="mlops-target-update"
              onChange={() => setChosen({ cell: marked.id, update: true })}
            />
            {trans.__('Update the active training cell')}
          </label>
          <label>
            <input
              type="radio"
              name="mlops-target"
              checked={!update}
              data-testid="mlops-target-new"
              onChange={() => setChosen({ cell: marked.id, update: false })}
            />
            {trans.__('Insert a new cell below it')}
          </label>
          <Button look="link" onClick={() => model.adopt()}>
            {trans.__("Take over the cell's values")}
          </Button>
        </div>
      )}
      <div className="mlops-Row">
        <Button
          look="primary"
          testId="mlops-insert-run"
          disabled={!ready || doing !== null || environment?.ready === false}
          busy={doing === 'run'}
          onClick={() => void model.insert(true, update)}
        >
          {update ? trans.__('Update and run') : trans.__('Insert and run')}
        </Button>
        <Button
          testId="mlops-insert"
          disabled={!ready || doing !== null}
          busy={doing === 'insert'}
          onClick={() => void model.insert(false, update)}
        >
          {update ? trans.__('Update cell') : trans.__('Insert cell')}
        </Button>
      </div>
      {!valid && <p className="mlops-soft">{trans.__('Correct the values marked above first.')}</p>}
      {failure && <Failure error={failure} />}
    </div>
  );
}
