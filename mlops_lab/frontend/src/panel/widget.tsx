/**
 * The sidebar's panel: four collapsible sections in one scrolling column.
 */
import { caretDownIcon, caretRightIcon, ReactWidget } from '@jupyterlab/ui-components';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { Message } from '@lumino/messaging';
import React, { ReactElement, Suspense, useState } from 'react';

import type { Api } from '../api';
import { IReadable, Store, useStore } from '../store';
import type { ISection } from '../tokens';
import { Failure, Notice, Skeleton } from './elements';
import { mlopsIcon } from './icons';
import type { Memory } from './memory';

/** The widget in the left area. */
export class LabPanel extends ReactWidget {
  constructor(
    private readonly _api: Api,
    private readonly _memory: Memory,
    private readonly _trans: TranslationBundle
  ) {
    super();
    this.id = 'mlops-lab-panel';
    this.title.icon = mlopsIcon;
    this.title.caption = _trans.__('MLOps Lab');
    this.addClass('mlops-Panel');
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', _trans.__('MLOps Lab'));
    this.node.dataset.testid = 'mlops-panel';
    void _memory.ready.then(() => {
      this.open.value = { ...this.open.value, ..._memory.value.open };
    });
  }

  readonly sections = new Store<readonly ISection[]>([]);
  /** Per section: is it unfolded? Unfolded unless said otherwise. */
  readonly open = new Store<Record<string, boolean>>({});

  /** Whether anybody can see the panel. */
  get shown(): IReadable<boolean> {
    return this._shown;
  }

  setOpen(section: string, open: boolean): void {
    this.open.value = { ...this.open.value, [section]: open };
    this._memory.update({ open: this.open.value });
  }

  protected override onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this._shown.value = this.isVisible;
  }

  protected override onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    this._shown.value = this.isVisible;
  }

  protected override onBeforeDetach(message: Message): void {
    super.onBeforeDetach(message);
    this._shown.value = false;
  }

  protected override onAfterHide(message: Message): void {
    super.onAfterHide(message);
    this._shown.value = false;
  }

  protected render(): ReactElement {
    return <Sections panel={this} api={this._api} trans={this._trans} />;
  }

  private readonly _shown = new Store(false);
}

function Sections(props: { panel: LabPanel; api: Api; trans: TranslationBundle }): ReactElement {
  const { api, trans } = props;
  const trouble = useStore(api.trouble);
  const sections = useStore(props.panel.sections);
  const open = useStore(props.panel.open);
  const seen = useSeen(props.panel.shown);
  return (
    <>
      <div className="mlops-Title">{trans.__('MLOps Lab')}</div>
      {trouble && (
        <div className="mlops-Body">
          <Failure
            error={trouble}
            again={() => void api.connection().catch(() => null)}
            label={trans.__('Try again')}
          />
        </div>
      )}
      <div className="mlops-Sections" hidden={trouble !== null}>
        {sections.map(section => (
          <Section
            key={section.id}
            section={section}
            open={open[section.id] ?? true}
            seen={seen}
            trans={trans}
            onToggle={() => props.panel.setOpen(section.id, !(open[section.id] ?? true))}
          />
        ))}
      </div>
    </>
  );
}

/** Whether the panel was ever shown: until then no section is loaded. */
function useSeen(shown: IReadable<boolean>): boolean {
  const now = useStore(shown);
  const [seen, setSeen] = useState(now);
  if (now && !seen) {
    setSeen(true);
  }
  return seen || now;
}

function Section(props: {
  section: ISection;
  open: boolean;
  seen: boolean;
  trans: TranslationBundle;
  onToggle: () => void;
}): ReactElement {
  const { id, title, body: Body, status: Status, tools: Tools } = props.section;
  const Caret = props.open ? caretDownIcon : caretRightIcon;
  return (
    <section className="mlops-Section" data-section={id} data-testid={`mlops-section-${id}`} aria-label={title}>
      <div className="mlops-Heading">
        <h2>
          <button
            type="button"
            aria-expanded={props.open}
            aria-controls={`mlops-body-${id}`}
            onClick={props.onToggle}
            data-testid={`mlops-toggle-${id}`}
          >
            <Caret.react tag="span" className="mlops-Icon" aria-hidden="true" />
            <span className="mlops-HeadingText">{title}</span>
          </button>
        </h2>
        <span className="mlops-HeadingStatus">
          <Suspense fallback={null}>{props.seen && Status && <Status />}</Suspense>
        </span>
        {props.open && props.seen && Tools && <Tools />}
      </div>
      <div className="mlops-Body" id={`mlops-body-${id}`} hidden={!props.open}>
        {props.open && props.seen && (
          <Guard text={props.trans.__('This section could not be shown. Reload the page to try again.')}>
            <Suspense fallback={<Skeleton label={props.trans.__('Loading')} />}>
              <Body />
            </Suspense>
          </Guard>
        )}
      </div>
    </section>
  );
}

/** Keeps a fault in one section from blanking the others. */
class Guard extends React.Component<{ text: string; children: React.ReactNode }, { failed: boolean }> {
  override state = { failed: false };

  static getDerivedStateFromError(): { failed: boolean } {
    return { failed: true };
  }

  override componentDidCatch(error: unknown): void {
    console.error('mlops-lab: a section failed.', error);
  }

  override render(): React.ReactNode {
    return this.state.failed ? <Notice tone="error" text={this.props.text} /> : this.props.children;
  }
}
