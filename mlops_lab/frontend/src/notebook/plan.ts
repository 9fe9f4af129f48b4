/**
 * Decides where new cells go and what they replace. Pure: the notebook itself is changed in `notebooks.ts`.
 */

/** What the plan needs to know of a cell. */
export interface ICellSketch {
  type: string;
  source: string;
}

/** One change: put `source` into a new cell at `index`, or into the active cell, which stands at `index` by then. */
export interface IEdit {
  index: number;
  insert: boolean;
  source: string;
  role: 'setup' | 'body';
}

/** The changes in order, and where setup and body stand after all of them. */
export interface IPlan {
  edits: IEdit[];
  setup: number;
  body: number;
}

const SETUP = /^\s*%(re)?load_ext\s+mlops_lab\b/m;

/** Does this cell load the extension? */
export function isSetup(cell: ICellSketch): boolean {
  return cell.type === 'code' && SETUP.test(cell.source);
}

/**
 * Plan `body` under the active cell (or in it, when it is empty or `replace` is set), below a setup cell
 * that is added only where the notebook has none.
 */
export function plan(
  cells: readonly ICellSketch[],
  active: number,
  setup: string,
  body: string,
  replace = false
): IPlan {
  const edits: IEdit[] = [];
  const known = cells.findIndex(isSetup);
  const here = cells[active];
  if (replace && here) {
    const shift = known < 0 ? 1 : 0;
    if (shift) {
      edits.push({ index: active, insert: true, source: setup, role: 'setup' });
    }
    edits.push({ index: active + shift, insert: false, source: body, role: 'body' });
    return { edits, setup: shift ? active : known, body: active + shift };
  }
  const reuse = here?.type === 'code' && here.source.trim() === '';
  let next = here ? active + (reuse ? 0 : 1) : 0;
  let insert = !reuse;
  let first = known;
  if (known < 0) {
    edits.push({ index: next, insert, source: setup, role: 'setup' });
    first = next;
    next += 1;
    insert = true;
  }
  edits.push({ index: next, insert, source: body, role: 'body' });
  return { edits, setup: insert && known >= next ? known + 1 : first, body: next };
}

/** A short fingerprint of a source, to see later whether somebody edited it. */
export function fingerprint(source: string): string {
  let hash = 5381;
  for (let index = 0; index < source.length; index += 1) {
    hash = ((hash << 5) + hash + source.charCodeAt(index)) >>> 0;
  }
  return hash.toString(16).padStart(8, '0');
}
