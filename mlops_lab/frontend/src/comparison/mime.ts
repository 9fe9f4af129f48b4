/**
 * The comparison as a notebook output: drawn from the saved document, with no kernel and no server.
 */
import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import type { TranslationBundle } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';

import type { Root } from 'react-dom/client';

/** Media type of the document. */
export const MIME_TYPE = 'application/vnd.mlops-lab.comparison+json';
/** Before text/html (50) and images (90), which ride along for other readers. */
export const RANK = 20;

class ComparisonOutput extends Widget implements IRenderMime.IRenderer {
  constructor(
    private readonly _trans: TranslationBundle,
    private readonly _language: string | undefined
  ) {
    super();
    this.addClass('mlops-Output');
  }

  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    const [{ createRoot }, { renderComparison }] = await Promise.all([import('react-dom/client'), import('./view')]);
    if (this.isDisposed) {
      return;
    }
    this._root ??= createRoot(this.node);
    this._root.render(renderComparison(model.data[MIME_TYPE], this._trans, this._language));
  }

  override dispose(): void {
    if (!this.isDisposed) {
      this._root?.unmount();
      super.dispose();
    }
  }

  private _root: Root | null = null;
}

/** The factory for JupyterLab's registry. Safe: every text of the document is drawn as text. */
export function rendererFactory(trans: TranslationBundle, language?: string): IRenderMime.IRendererFactory {
  return {
    safe: true,
    mimeTypes: [MIME_TYPE],
    defaultRank: RANK,
    createRenderer: () => new ComparisonOutput(trans, language)
  };
}
