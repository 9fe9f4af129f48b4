/**
 * The smallest thing that models and React share: a value that tells when it changed.
 */
import { useSyncExternalStore } from 'react';

/** Something whose value can be read and watched. */
export interface IReadable<T> {
  readonly value: T;
  /** Call `listener` after each change; the answer ends that. */
  readonly subscribe: (listener: () => void) => () => void;
}

/** A value that its owner sets and anybody watches. */
export class Store<T> implements IReadable<T> {
  constructor(value: T) {
    this._value = value;
  }

  get value(): T {
    return this._value;
  }

  set value(value: T) {
    if (Object.is(value, this._value)) {
      return;
    }
    this._value = value;
    for (const listener of [...this._listeners]) {
      listener();
    }
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this._listeners.add(listener);
    return () => {
      this._listeners.delete(listener);
    };
  };

  private _value: T;
  private readonly _listeners = new Set<() => void>();
}

/** Read `store` in a component and render again when it changes. */
export function useStore<T>(store: IReadable<T>): T {
  return useSyncExternalStore(store.subscribe, () => store.value);
}
