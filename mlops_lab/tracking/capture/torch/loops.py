"""Training loops of one run: which loss a step minimized, point by point, and where a series of them belongs.

A point of ``train_loss`` is one step of an optimizer: the sum of what was back-propagated since the last one. Where
several optimizers are used side by side, each loss is a series of its own.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable
from time import perf_counter
from types import CodeType, FrameType
from typing import Any

from ...run import Run
from . import epochs, loaders, seeds
from .arriving import Value, is_captured, total, value_of
from .frames import Reachable, names_of, place
from .optimizers import Member, Optimizers, carried
from .parts import Part
from .series import AllSeries
from .sites import Pending, Site, Thread, explains, function_names, kinds, new_site
from .words import loss_words

_MOST_SITES = 256
"""Places of one thread that are told apart."""
_MOST_SURVEYS = 64
"""Times that places are looked at anew because an optimizer appeared; after that they are taken as they were."""


class Loops:
    """The training loops of one run.

    Parameters
    ----------
    run
        The run.
    torch
        The library.
    hook_loss
        Has the calls of a class of loss modules watched.
    """

    def __init__(self, run: Run, torch: Any, hook_loss: Callable[[type], bool]) -> None:
        self.run = run
        self.series = AllSeries(run)
        self.optimizers = Optimizers(run, torch)
        self.passes = loaders.passes(run)
        self._torch = torch
        self._kind_of = kinds(torch)
        constants = torch.optim.Optimizer.profile_hook_step.__code__.co_consts
        self._step_code = next((code for code in constants if isinstance(code, CodeType)), None)
        self._hook_loss = hook_loss
        self._threads: dict[int, Thread] = {}
        self._version = 0
        self._found: list[tuple[str, weakref.ref[Any]]] = []
        self._schedulers: list[weakref.ref[Any]] = []
        seeds.tell(run)
        seeds.tell_determinism(run, torch)
        # A loss that was computed in a validation is of no use any more, and its graph may be large.
        self.passes.when_over.append(lambda: self.thread().calls.forget())
        run.at_end(self.finish)

    def thread(self) -> Thread:
        """Give the state of the calling thread."""
        key = threading.get_ident()
        found = self._threads.get(key)
        if found is None:
            found = self._threads[key] = Thread(key)
        return found

    def back_propagated(self, scalars: list[Any], held: list[Any], frame: FrameType, trains: bool = False) -> None:
        """Take note of a backward call at `frame`, of the sum of `scalars`.

        Parameters
        ----------
        scalars
            Tensors of one element.
        held
            The tensors that the user's variables may hold: the same, or what a GradScaler scaled.
        frame
            The code that called.
        trains
            Gradients of parameters were asked for, and of nothing else.
        """
        if not scalars[0].is_cpu and is_captured(self._torch, scalars[0]):
            self.run.notice("Steps that are replayed as a CUDA graph are not seen; their losses are not recorded.")
            return
        thread = self._threads.get(threading.get_ident()) or self.thread()
        thread.site = None
        where = place(frame)
        known = thread.sites.get(where)
        if (
            known is not None
            and known.plain
            and known.version == self._version
            and not (thread.pending or thread.evaluated or thread.calls.fresh or trains)
            and thread.passes == self.passes.changes
            and len(scalars) == 1
            and scalars[0].is_cpu
        ):
            pending = Pending()
            pending.values.append(scalars[0].item())
            known.remember()
            thread.pending[known] = pending
            thread.site = known
            return
        if thread.evaluated and thread.evaluated == self._step_around(frame):
            return  # a line search tries out what is no step
        site = self._site(thread, where, held, frame)
        if trains:
            site.aside, site.asked = False, True
        if site.aside and not site.known:
            return
        torch = self._torch
        loss = scalars[0]
        if len(scalars) > 1:
            value = total([value_of(torch, scalar) for scalar in scalars])
        else:
            value = loss.item() if loss.is_cpu else value_of(torch, loss)
        if thread.passes != self.passes.changes:
            epochs.trained(self, thread, frame)
            thread.passes = self.passes.changes
        if site.closure is not False:
            thread.evaluated = self._step_around(frame)
            site.closure = thread.evaluated != 0
            for other in list(thread.pending) if site.closure else ():
                if other.dropped():
                    del thread.pending[other]  # the closure was called to see its value; now the step calls it
        pending = self._pending(thread, site)
        site.remember()
        thread.site = site
        pending.values.append(value)
        for group in site.groups:
            taken = [found for part in group if (found := part.take(torch, frame)) is not None]
            if taken:
                if pending.parts is None:
                    pending.parts = {}
                pending.parts.setdefault(group[0], []).append(total(taken))
        if site.direct:
            self._write(thread, [site])
        site.settle()

    def failed(self) -> None:
        """Take the last loss back: its gradients could not be computed."""
        thread = self.thread()
        site, thread.site = thread.site, None
        pending = thread.pending.get(site) if site is not None else None
        if site is not None and pending is not None:
            pending.values.pop()
            if not pending.values:
                del thread.pending[site]

    def stepping(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Measure the gradients of `optimizer`, which is about to step."""
        if (args[1] if len(args) > 1 else kwargs.get("closure")) is None:
            optimizer = self.optimizers.counted(optimizer)
            self.optimizers.measure(self.optimizers.member(optimizer) or self._meet(optimizer), optimizer)

    def stepped(self, optimizer: Any) -> None:
        """Take note that `optimizer` has stepped."""
        thread = self._threads.get(threading.get_ident()) or self.thread()
        thread.stepped += 1
        thread.evaluated = 0
        if thread.epoch is not None:
            thread.epoch.stepped = perf_counter()
        usual, pending = thread.usual, thread.pending
        if usual is not None and len(pending) == 1 and usual[0] in pending and usual[1].optimizer() is optimizer:
            site, member, series = usual
            values = pending.pop(site).values
            series.log(values[0] if len(values) == 1 else total(values))
            self.optimizers.record(member, optimizer, series.step)
        else:
            self._minimized(thread, optimizer)

    def skipped(self, optimizer: Any) -> None:
        """Take note that a GradScaler has left the step of `optimizer` out, because its gradients overflowed."""
        member = self._minimized(self.thread(), optimizer)
        if member.series is not None and self.run.options.grad_norm:
            member.norm = float("inf")
            self.optimizers.record(member, optimizer, member.series.step)

    def finish(self) -> None:
        """Write what no step came for; the run is over."""
        for thread in list(self._threads.values()):
            thread.calls.forget()
            while thread.pending:
                site = next(iter(thread.pending))
                if site.aside and not site.consumed:
                    del thread.pending[site]
                elif site.consumed:
                    self._write(thread, self._alike(thread, site))
                else:
                    self._write_each(thread, site)
            for site in thread.sites.values():
                site.unsure = False
                if site.series is not None and not site.series.described:
                    self.series.describe(site.series, [site])
        loaders.finish(self.run)
        self._threads.clear()

    def _site(self, thread: Thread, where: Any, held: list[Any], frame: FrameType) -> Site:
        site = thread.sites.get(where)
        loss = held[0]
        if site is not None and site.shared:
            site.look(loss)
            where = (where, site.reach)
            site = thread.sites.get(where)
        if site is None and len(thread.sites) >= _MOST_SITES:
            where = None  # code that is made anew for every step
            site = thread.sites.get(where)
        if site is None or site.version != self._version or not site.holds():
            before, site = site, new_site(self._version, frame, held)
            if before is not None:
                site.follow(before)
            thread.sites[where] = site
            self._survey(thread, site, loss, frame)
        elif thread.calls.fresh and loss.grad_fn is not None:
            self._place_parts(thread, site, loss, frame, None)
        return site

    def _pending(self, thread: Thread, site: Site) -> Pending:
        """Give what waits for a step at `site`, after writing what none will come for any more."""
        pending = thread.pending.get(site)
        if pending is None:
            pending = Pending()
            for other, waiting in thread.pending.items():
                if other.reach == site.reach and not other.asked and other.dropped():
                    # To look around from (SAM, whose step is for the first loss), or to attack an image with.
                    (pending if other.moved() else waiting).spare = True
        elif site.aside and not site.consumed and (site.dropped() or len(pending.values) >= site.limit):
            pending = Pending()
        elif site.renewed():
            site.consumed = True
            self._write(thread, self._alike(thread, site))
            pending = Pending()
        elif len(pending.values) >= site.limit and not site.consumed:
            self._write_each(thread, site)
            site.direct = True
            pending = Pending()
        thread.pending[site] = pending
        return pending

    def _survey(self, thread: Thread, site: Site, loss: Any, frame: FrameType) -> None:
        reachable = Reachable(frame, self._kind_of)
        optimizers = reachable.found.get("optimizer")
        if optimizers:
            named = [(name, carried(self._torch, optimizer)) for name, optimizer in optimizers]
            reachable.found["optimizer"] = list(
                {id(optimizer): (name, optimizer) for name, optimizer in named}.values()
            )
            self._found = [(name, weakref.ref(optimizer)) for name, optimizer in named]
        self._schedulers = [weakref.ref(scheduler) for _, scheduler in reachable.found.get("scheduler", ())]
        if loss.grad_fn is None:
            return
        if explains(frame):
            site.aside = True
            return
        site.survey(reachable, loss)
        own = [module for _, module in reachable.found.get("loss", ()) if self._hook_loss(type(module))]
        for module in own:
            thread.calls.within(module)
        self._place_parts(thread, site, loss, frame, reachable.mentioned)
        site.unsure = bool(own)
        if not site.parts and not site.functions:
            site.functions = function_names(frame, reachable.mentioned)

    def _place_parts(self, thread: Thread, site: Site, loss: Any, frame: FrameType, mentioned: set[str] | None) -> None:
        found = thread.calls.placed(loss, frame, mentioned)
        if len(site.parts) == 1 and site.parts[0] not in found.parts:
            site.parts[0].forget()  # it was the whole until now, its value is of an earlier step
            if len({part.identity for part in found.parts}) > 1:
                site.parts.pop().look_again()  # it is among those that were found, or is used no more
        variables = {part.identity for part in site.parts if not part.called}
        called = {part.identity for part in site.parts if part.called}
        site.parts += [
            part
            for part in found.parts
            if part not in site.parts
            and part.identity not in variables
            and (part.called or part.identity not in called)
        ]
        if found.parts or not site.functions:
            site.functions = found.functions
        if not site.words:
            site.words = next((words for name in found.names if (words := loss_words(name))), [])
        groups: dict[Any, list[Part]] = {}
        for part in site.parts:
            groups.setdefault(part.identity, []).append(part)
        if len(groups) > 1:
            site.groups = list(groups.values())
            thread.usual = None
        for part in site.parts:
            part.want() if len(groups) > 1 else part.forget()

    def _step_around(self, frame: FrameType | None) -> int:
        """Give the id of the frame of the optimizer's step that `frame` was called by; 0 outside of one."""
        while frame is not None:
            if frame.f_code is self._step_code:
                return id(frame)
            frame = frame.f_back
        return 0

    def _minimized(self, thread: Thread, optimizer: Any) -> Member:
        optimizer = self.optimizers.counted(optimizer)
        member = self.optimizers.member(optimizer) or self._meet(optimizer)
        sites = self._share(thread, optimizer) if thread.pending else []
        if sites:
            for site in sites:
                site.consumed = True
                site.direct = False
            self._write(thread, sites, member)
            # One place, one optimizer, nothing more to find out: the way of most steps.
            plain = len(sites) == 1 and not site.several and not site.groups and member.series.described
            thread.usual = (site, member, member.series) if plain else None
        known = member.series or thread.last
        self.optimizers.record(member, optimizer, known.step if known is not None else 1)
        return member

    def _meet(self, optimizer: Any) -> Member:
        """Take in an optimizer that has not stepped before."""
        found = [(name, other) for name, ref in self._found if (other := ref()) is not None]
        companions = list({id(other): other for _, other in found}.values())
        if all(other is not optimizer for other in companions):
            # The places were looked at when it was not there, or not in reach.
            companions = [optimizer]
            if self._version < _MOST_SURVEYS:
                self._version += 1
        names = [*names_of(optimizer, sys._getframe()), *(name for name, other in found if other is optimizer)]
        schedulers = [ref() for ref in self._schedulers]
        scheduler = next((s for s in schedulers if getattr(s, "optimizer", None) is optimizer), None)
        return self.optimizers.add(optimizer, names, companions, scheduler)

    def _share(self, thread: Thread, optimizer: Any) -> list[Site]:
        """Give the places whose losses a step of `optimizer` has minimized."""
        key = id(optimizer)
        for site in list(thread.pending) if len(thread.pending) > 1 else ():
            if site in thread.pending and site.dropped():
                self._write(thread, [site])  # its gradients were thrown away
        sites = list(thread.pending)
        mine = [site for site in sites if site.may_serve(key)]
        if not mine and len(sites) == 1 and not sites[0].shared:
            # Whatever was found when this place was met first: it is this optimizer's turn now.
            sites[0].shared = True
            sites[0].plain = False
            sites[0].series = None
            return sites
        if len(mine) > 1:
            # loss_g depends on the discriminator as well; but when it is loss_d's turn, it waits for its own.
            narrower = [site.reach for site in mine if site.reach]
            mine = [site for site in mine if not any(other < site.reach for other in narrower)]
        used = [site for site in mine if not thread.pending[site].spare]
        for site in mine if used else ():
            if site not in used:
                del thread.pending[site]
        return used or mine

    def _alike(self, thread: Thread, site: Site) -> list[Site]:
        """Give the pending places whose losses go the same way as those from `site`."""
        return [other for other in thread.pending if other is site or other.reach == site.reach]

    def _write_each(self, thread: Thread, site: Site) -> None:
        pending = thread.pending.pop(site)
        for position, value in enumerate(pending.values):
            one = thread.pending[site] = Pending()
            one.values.append(value)
            every = {
                part: values for part, values in (pending.parts or {}).items() if len(values) == len(pending.values)
            }
            one.parts = {part: [values[position]] for part, values in every.items()}
            self._write(thread, [site])

    def _write(self, thread: Thread, sites: list[Site], member: Member | None = None) -> None:
        """Write one point of what these places have back-propagated."""
        series = self.series.of(thread, sites, member)
        values: list[Value] = []
        found = [(site, thread.pending.pop(site)) for site in sites]
        for _, pending in found:
            values += pending.values
        thread.last = series
        series.log(total(values))
        if not series.described:
            self.series.describe(series, sites)
        for _, pending in found:
            self.series.log_parts(series, pending.parts)
