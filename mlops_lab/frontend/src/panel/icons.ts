/**
 * Icons that JupyterLab does not have.
 */
import { LabIcon } from '@jupyterlab/ui-components';

/** A curve over a stack of layers: metrics on data versions. */
export const mlopsIcon = new LabIcon({
  name: 'mlops-lab:icon',
  svgstr: `<svg xmlns="http://www.w3.org/2000/svg" width="24" viewBox="0 0 24 24">
  <g class="jp-icon3" fill="none" stroke="#616161" stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round">
    <path d="M4 13.5 12 17.2 20 13.5"/>
    <path d="M4 17.3 12 21 20 17.3"/>
    <path d="M4 10.2 8.6 5.6 12 8.6 19 3"/>
  </g>
  <g class="jp-icon3" fill="#616161"><circle cx="8.6" cy="5.6" r="1.7"/><circle cx="12" cy="8.6" r="1.7"/></g>
</svg>`
});

/** "Not equal": two things differ, which is neither good nor bad by itself. */
export const differentIcon = new LabIcon({
  name: 'mlops-lab:different',
  svgstr: `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24">
  <g class="jp-icon3" fill="none" stroke="#616161" stroke-width="2.4" stroke-linecap="round">
    <path d="M5 9.2H19"/>
    <path d="M5 14.8H19"/>
    <path d="M15.5 4.5 8.5 19.5"/>
  </g>
</svg>`
});
