/**
 * The requests to the server part, and the one error type that they fail with.
 */
import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';
import type { TranslationBundle } from '@jupyterlab/translation';

import type {
  Catalogue,
  CellRequest,
  CellSource,
  Comparison,
  ComparisonRequest,
  ConnectionState,
  Experiment,
  KernelEnvironment,
  LoginRequest,
  Preview,
  Recipe,
  RunPage,
  SendRequest,
  Waiting
} from './contract';
import { Store } from './store';

/** Milliseconds after which a request is given up: no spinner turns for ever. */
const TIME_LIMIT = 30_000;

/** Why a request failed, in words for the person at the screen. */
export class ApiError extends Error {
  constructor(
    readonly code: string,
    message: string,
    /** What to do next; empty when the message says it already. */
    readonly hint = ''
  ) {
    super(message);
    this.name = 'ApiError';
  }
}

type Query = Record<string, string | readonly string[] | null | undefined>;

interface IRequest {
  query?: Query;
  body?: object;
  signal?: AbortSignal;
  limit?: number;
}

/** Faults that concern every room alike, and are said once for all. */
const EVERYWHERE = ['no_server_part', 'signed_out', 'offline'];
/** Faults that say that the connection is not what we think it is. */
const ABOUT_CONNECTION = [
  'not_connected',
  'unreachable',
  'untrusted_certificate',
  'unknown_authority',
  'wrong_scheme',
  'wrong_name',
  'wrong_credentials'
];

/** Speaks with the handlers under `mlops-lab/`. Every method rejects with {@link ApiError} only. */
export class Api {
  constructor(
    private readonly _settings: ServerConnection.ISettings,
    private readonly _trans: TranslationBundle
  ) {}

  /** The fault that keeps every room from working; null when the server part answers. */
  readonly trouble = new Store<ApiError | null>(null);
  /** The last fault that casts doubt on the connection. */
  readonly doubt = new Store<ApiError | null>(null);

  connection(): Promise<ConnectionState> {
    return this._send('GET', 'connection');
  }

  login(body: LoginRequest): Promise<ConnectionState> {
    return this._send('POST', 'connection', { body });
  }

  logout(): Promise<ConnectionState> {
    return this._send('DELETE', 'connection');
  }

  startEmbedded(): Promise<ConnectionState> {
    return this._send('POST', 'embedded', { body: { port: null } });
  }

  stopEmbedded(): Promise<ConnectionState> {
    return this._send('DELETE', 'embedded', { limit: 60_000 });
  }

  datasets(path: string, signal?: AbortSignal): Promise<Catalogue> {
    return this._send('GET', 'datasets', { query: { path }, signal });
  }

  async recipes(): Promise<Recipe[]> {
    return (await this._send<{ recipes: Recipe[] }>('GET', 'recipes')).recipes;
  }

  cell(body: CellRequest): Promise<CellSource> {
    return this._send('POST', 'cell', { body });
  }

  environment(kernel: string): Promise<KernelEnvironment> {
    return this._send('GET', 'environment', { query: { kernel } });
  }

  async experiments(): Promise<Experiment[]> {
    return (await this._send<{ experiments: Experiment[] }>('GET', 'experiments')).experiments;
  }

  runs(experiments: readonly string[], token?: string | null, signal?: AbortSignal): Promise<RunPage> {
    return this._send('GET', 'runs', { query: { experiment_id: experiments, page_token: token }, signal });
  }

  /** The present state of some runs. */
  async freshen(runs: readonly string[]): Promise<RunPage['runs']> {
    return (await this._send<RunPage>('GET', 'runs', { query: { run_id: runs } })).runs;
  }

  /** The runs that are still on the computer that JupyterLab runs on, and that nobody is sending. */
  waiting(): Promise<Waiting> {
    return this._send('GET', 'waiting');
  }

  /** Send runs that wait; the answer comes at once, and {@link waiting} tells how it goes. */
  send(body: SendRequest): Promise<Waiting> {
    return this._send('POST', 'waiting', { body });
  }

  /** What would be sent of a run that waits. */
  preview(run: string): Promise<Preview> {
    return this._send('GET', 'waiting/preview', { query: { run } });
  }

  comparison(body: ComparisonRequest): Promise<Comparison> {
    return this._send('POST', 'comparison', { body, limit: 60_000 });
  }

  private async _send<T>(method: string, path: string, request: IRequest = {}): Promise<T> {
    const url = URLExt.join(this._settings.baseUrl, 'mlops-lab', path) + search(request.query ?? {});
    const stop = new AbortController();
    const end = () => stop.abort();
    const timer = window.setTimeout(end, request.limit ?? TIME_LIMIT);
    request.signal?.addEventListener('abort', end);
    try {
      const init: RequestInit = {
        method,
        signal: stop.signal,
        body: request.body === undefined ? undefined : JSON.stringify(request.body)
      };
      const response = await ServerConnection.makeRequest(url, init, this._settings);
      const document = this._read(response, await response.text());
      this.trouble.value = null;
      return document as T;
    } catch (error) {
      const reason = this._explain(error, stop.signal.aborted, request.signal?.aborted ?? false);
      if (EVERYWHERE.includes(reason.code)) {
        this.trouble.value = reason;
      }
      if (ABOUT_CONNECTION.includes(reason.code)) {
        this.doubt.value = reason;
      }
      throw reason;
    } finally {
      window.clearTimeout(timer);
      request.signal?.removeEventListener('abort', end);
    }
  }

  private _read(response: Response, text: string): unknown {
    const document = parse(text);
    if (response.ok && document !== null) {
      return document;
    }
    if (isFailure(document)) {
      throw new ApiError(document.code, document.message, document.hint);
    }
    if (response.status === 401 || response.status === 403) {
      throw new ApiError(
        'signed_out',
        this._trans.__('Your Jupyter session has ended.'),
        this._trans.__('Reload this page to sign in again.')
      );
    }
    if (response.status >= 500) {
      throw new ApiError(
        'internal',
        this._trans.__('The Jupyter server could not answer (%1).', response.status),
        this._trans.__("The Jupyter server's log has the details.")
      );
    }
    throw new ApiError(
      'no_server_part',
      this._trans.__('The server part of mlops_lab is not installed or not enabled on this Jupyter server.'),
      this._trans.__('Run "pip install mlops-lab" where JupyterLab is installed, then restart JupyterLab.')
    );
  }

  private _explain(error: unknown, stopped: boolean, unwanted: boolean): ApiError {
    if (error instanceof ApiError) {
      return error;
    }
    if (unwanted) {
      return new ApiError('cancelled', this._trans.__('The request was cancelled.'));
    }
    if (stopped) {
      return new ApiError(
        'timeout',
        this._trans.__('The Jupyter server did not answer in time.'),
        this._trans.__('Try again; if it happens again, look at the Jupyter server.')
      );
    }
    return new ApiError(
      'offline',
      this._trans.__('The Jupyter server cannot be reached.'),
      this._trans.__('Check that it still runs and that you are online.')
    );
  }
}

/** Turn anything thrown into an error that can be shown. */
export function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) {
    return error;
  }
  console.error('mlops-lab:', error);
  return new ApiError('internal', error instanceof Error ? error.message : String(error));
}

function search(query: Query): string {
  const pairs = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const item of value === null || value === undefined ? [] : [value].flat()) {
      pairs.append(name, item);
    }
  }
  const text = pairs.toString();
  return text ? `?${text}` : '';
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return null;
  }
}

function isFailure(document: unknown): document is { code: string; message: string; hint: string } {
  const fields = document as Record<string, unknown> | null;
  // Jupyter's own errors have a message but no code; they are no answer of ours.
  return typeof fields?.code === 'string' && typeof fields.message === 'string';
}
