/**
 * The recipe's form, drawn by JupyterLab's own form component from the recipe's JSON schema.
 */
import { FormComponent } from '@jupyterlab/ui-components';
import type { ReadonlyJSONObject } from '@lumino/coreutils';
import type { FieldTemplateProps, ObjectFieldTemplateProps, UiSchema } from '@rjsf/utils';
import { customizeValidator } from '@rjsf/validator-ajv8';
import type { ReactElement } from 'react';

import type { Recipe } from '../contract';
import { useStore } from '../store';
import type { IMlopsLab } from '../tokens';
import type { TrainingModel } from './model';

const validator = customizeValidator<ReadonlyJSONObject>();
/** JupyterLab's own templates are made for wide pages, and their labels name no field for screen readers. */
const templates = { FieldTemplate: Field, ObjectFieldTemplate: Fields };

export default function RecipeForm(props: { lab: IMlopsLab; model: TrainingModel; recipe: Recipe }): ReactElement {
  const { lab, model, recipe } = props;
  const values = useStore(model.values);
  return (
    <div className="mlops-RecipeForm" data-testid="mlops-recipe-form">
      <FormComponent
        key={recipe.name}
        schema={recipe.schema}
        uiSchema={recipe.ui_schema as UiSchema<ReadonlyJSONObject>}
        validator={validator}
        formData={values as ReadonlyJSONObject}
        idPrefix={`mlops-${recipe.name}`}
        templates={templates}
        tagName="div"
        liveValidate
        experimental_defaultFormStateBehavior={{ emptyObjectFields: 'skipDefaults' }}
        transformErrors={errors =>
          errors.map(error => {
            const text =
              error.name === 'required'
                ? lab.trans.__('Give a value.')
                : error.name === 'type'
                  ? lab.trans.__('This is not a value of the right kind.')
                  : error.message;
            return { ...error, message: text };
          })
        }
        showErrorList={false}
        noHtml5Validate
        onChange={event => {
          model.values.value = { ...event.formData };
          model.valid.value = event.errors.length === 0;
        }}
        aria-label={lab.trans.__('Values of the recipe')}
      />
    </div>
  );
}

function Fields(props: ObjectFieldTemplateProps<ReadonlyJSONObject>): ReactElement {
  return <div className="mlops-Fields">{props.properties.map(property => property.content)}</div>;
}

function Field(props: FieldTemplateProps<ReadonlyJSONObject>): ReactElement {
  const { id, label, rawDescription, rawErrors, hidden, schema, children } = props;
  if (hidden || schema.type === 'object') {
    return <div hidden={hidden}>{children}</div>;
  }
  return (
    <div className="mlops-FormRow" title={rawDescription} data-invalid={Boolean(rawErrors?.length)}>
      <label htmlFor={id}>{label}</label>
      {children}
      {rawDescription && (
        <span id={`${id}__description`} className="mlops-hidden">
          {rawDescription}
        </span>
      )}
      {rawErrors && rawErrors.length > 0 && (
        <p id={`${id}__error`} className="mlops-FieldError" role="alert">
          {rawErrors.join('; ')}
        </p>
      )}
    </div>
  );
}
