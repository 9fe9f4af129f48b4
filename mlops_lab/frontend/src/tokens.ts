/**
 * The one token that the rooms meet at: the panel hands each room what it shares with the others.
 */
import type { TranslationBundle } from '@jupyterlab/translation';
import { Token } from '@lumino/coreutils';
import type { ComponentType } from 'react';

import type { Api } from './api';
import type { ConnectionState, DatasetVersion } from './contract';
import type { Notebooks } from './notebook/notebooks';
import type { Memory } from './panel/memory';
import type { IReadable, Store } from './store';

/** A collapsible section of the panel. */
export interface ISection {
  id: string;
  title: string;
  rank: number;
  /** What stands inside; loaded when the section is first opened. */
  body: ComponentType;
  /** A word on the present state, shown in the heading even while collapsed. */
  status?: ComponentType;
  /** Small buttons at the right of the heading. */
  tools?: ComponentType;
}

/** What rooms share. */
export interface IMlopsLab {
  readonly api: Api;
  readonly trans: TranslationBundle;
  /** The language of the interface, for dates. */
  readonly language: string | undefined;
  readonly notebooks: Notebooks;
  readonly memory: Memory;
  /** Whether anybody can see the panel; nothing is polled while nobody can. */
  readonly visible: IReadable<boolean>;
  /** The tracking server; null until asked. Written by the connection room. */
  readonly connection: Store<ConnectionState | null>;
  /** The dataset version that the user picked. Written by the datasets room. */
  readonly picked: Store<DatasetVersion | null>;
  addSection(section: ISection): void;
  /** Open the panel, and unfold one of its sections. */
  reveal(section?: string): void;
  /** Run a JupyterLab command. */
  execute(command: string, args?: Record<string, string | boolean | string[]>): Promise<unknown>;
}

export const IMlopsLab = new Token<IMlopsLab>('mlops-lab:IMlopsLab', 'What the rooms of mlops_lab share.');

/** Ids of the commands. */
export const Command = {
  openPanel: 'mlops-lab:open-panel',
  startServer: 'mlops-lab:start-server',
  stopServer: 'mlops-lab:stop-server',
  refreshDatasets: 'mlops-lab:refresh-datasets',
  insertCell: 'mlops-lab:insert-training-cell',
  compare: 'mlops-lab:compare',
  openComparison: 'mlops-lab:open-comparison'
} as const;
