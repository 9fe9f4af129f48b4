/**
 * The JupyterLab front end of mlops_lab: one plugin per room.
 */
import comparison from './comparison';
import connection from './connection';
import datasets from './datasets';
import panel from './panel';
import runs from './runs';
import training from './training';

export default [panel, connection, datasets, training, runs, ...comparison];
