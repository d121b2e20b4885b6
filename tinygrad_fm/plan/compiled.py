"""`compile`: the same function or module, whose calls are planned and replayed."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import partial, update_wrapper
from typing import Any, TypeVar

import numpy as np

from tinygrad_fm.autograd.engine import deliver
from tinygrad_fm.autograd.mode import mode
from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.callsite import user_line
from tinygrad_fm.nn.module import Module, changes
from tinygrad_fm.ops.fast.memory import parts_of, release
from tinygrad_fm.plan.build import build
from tinygrad_fm.plan.effects import Effect, Effects
from tinygrad_fm.plan.fuse import fuse
from tinygrad_fm.plan.kernels import kernel_of
from tinygrad_fm.plan.planned import replay
from tinygrad_fm.plan.replay import Plan
from tinygrad_fm.plan.state import Place, found_by, places_of, told
from tinygrad_fm.plan.trace import Trace, trace

KEPT = 16  # signatures of one function whose plans are kept
Target = TypeVar("Target", bound=Callable[..., Any])
Facts = tuple[Hashable, ...]


def compile(target: Target) -> Target:
    """Plan the calls of a module, or of a function of tensors, and replay them.

    A module is returned itself: parameters, `state_dict`, hooks and the training loop stay as they
    are. The first call with inputs of a shape is traced, fused and laid out; it and all later ones
    are replayed from that plan, whose results are those of the operations up to rounding. (The
    second call is traced too, to see that it does the same.)

    A function may call `backward` on its loss, and optimizers, schedules and `clip_grad_norm_`
    around it: a whole step is planned then, and what it returns is no part of a graph.

    A call that does more than operations on tensors (branches on a value, reads one with `item`,
    sets an attribute) is not planned: it runs as ever, after one warning that says where and why.
    So does one inside `profile` or `detect_anomaly`, which see every operation, and one that
    computes with arrays that NumPy makes in the forward pass. Attributes, lists, dicts and global
    variables that the code names are looked at in each call. What a plan does not see are single
    numbers that NumPy makes in the forward pass from parameters' `.data`.

    Raises:
        TypeError: if the target cannot be called.
    """
    if not callable(target):
        raise TypeError(f"compile takes a module or a function, got {type(target).__name__}")
    if isinstance(target, Module):
        if target._compiled is not None:
            return target
        _join(target.parameters())
        object.__setattr__(target, "_compiled", Compiled(target.forward, [target], whole=False))
        return target
    return update_wrapper(Compiled(target, found_by(target, Module)), target)  # type: ignore[return-value]


def _join(parameters: Iterable[Tensor]) -> None:
    """Let parameters be parts of one array, so that an optimizer can take its step on that."""
    joined = [p for p in parameters if p.data.flags.c_contiguous and p.data.dtype == np.float32]
    for p, part in zip(joined, parts_of([p.shape for p in joined], np.float32), strict=True):
        part[...] = p.data
        p.data = part


class Compiled:
    """Calls of a function, by a plan for each signature.

    Args:
        modules: those that the function calls.
        whole: whether it calls them from outside, hooks and all.
    """

    def __init__(
        self, function: Callable[..., Any], modules: Sequence[Module], whole: bool = True
    ) -> None:
        self.function, self.modules, self.whole = function, modules, whole
        self.plans: OrderedDict[Hashable, Signature] = OrderedDict()
        self.seen: object = None  # of the changes of modules
        self.state: Hashable = ()
        self.places: list[Place] = []  # where values lie that may change unnoticed
        self.warned = False
        self.in_vain = 0  # plans in a row that were dropped and had never been replayed

    def __reduce__(self) -> tuple:
        """Copied and pickled without its plans, which are soon made again."""
        return Compiled, (self.function, self.modules, self.whole)

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        if mode.runner is not None or self.in_vain > KEPT:  # (somebody wants to see each operation)
            return self.function(*inputs, **options)
        if self.seen is not changes[0]:
            self.seen = changes[0]
            self.modules = list(dict.fromkeys([*self.modules, *found_by(self.function, Module)]))
            self.state = _state(self.modules)
            self.places = places_of(self.function, self.modules)
        given = (*inputs, *options.values())
        try:
            facts = (*map(_fact, given), _same(given))
            key = (mode.recording, self.state, self._values(), tuple(options), *facts)
        except TypeError as error:
            self._warn(str(error))
            return self.function(*inputs, **options)
        signature = self.plans.get(key)
        if signature is None:
            signature = self.plans[key] = Signature()
            if len(self.plans) > KEPT:
                self._drop(self.plans.popitem(last=False)[1])
        if signature.why is not None:
            return self.function(*inputs, **options)
        tensors = [x for x in given if isinstance(x, Tensor)]
        if signature.ready():
            return signature.replay(tensors)
        return self._traced(signature, partial(self.function, *inputs, **options), tensors)

    def _traced(self, signature: Signature, call: Callable[[], Any], tensors: list[Tensor]) -> Any:
        """The result of one of the first two calls: traced, and replayed as all others will be."""
        known = [t for module in self.modules for t in _tensors_of(module)]
        known += found_by(self.function, Tensor)
        if {id(t.data) for t in known}.intersection(id(t.data) for t in tensors):
            signature.why = "an argument is one of the module's own tensors"
            self._warn(signature.why)
            return call()
        release()  # a trace keeps all arrays for a moment, and of other sizes than a plan
        before = _state(self.modules), self._values()
        result, found, why, effects, undo = trace(call, tensors, known)
        if why is None and any(_hooked(self.modules, self.whole)):
            why = "a module has a forward hook"
        if why is None and (_state(self.modules), self._values()) != before:
            why = "it changes what it depends on: an attribute, a list or a variable"
        signature.why = why or signature.note(found, result, effects)
        if signature.why is not None:
            effects.make()
            self._warn(signature.why)
            return result
        effects.settle()
        undo()
        result = _values_of(result, effects.middle is None)  # and let go of its graph
        release()
        replayed = signature.replay(tensors, lambda ours: _alike(ours, result))
        if replayed is not _OTHER:
            return replayed
        signature.why = "its operations alone give another result: it may write into .data"
        self._warn(signature.why)
        undo()
        return call()

    def _drop(self, oldest: Signature) -> None:
        """Let go of a plan, and of planning at all if too many were never used again."""
        self.in_vain = 0 if oldest.checked else self.in_vain + 1
        if self.in_vain > KEPT:
            self.plans.clear()
            self._warn("an argument, or a variable that it reads, is another in nearly every call")

    def _values(self) -> Hashable:
        return tuple([told(place()) for place in self.places])

    def _warn(self, why: str) -> None:
        if not self.warned:
            self.warned = True
            name = getattr(self.function, "__qualname__", type(self.function).__name__)
            file, line = user_line().rsplit(":", 1)
            message = f"{name} is not planned and runs as ever: {why}"
            warnings.warn_explicit(message, UserWarning, file, int(line))


def plan_of(model: Module, *inputs: Tensor) -> tuple[Plan, list[np.ndarray]]:
    """The plan of a compiled model's call, and the arrays that it is replayed on.

    Raises:
        ValueError: if the model is not compiled, or the call cannot be planned.
    """
    if model._compiled is None:
        raise ValueError("the model is not compiled; call tinygrad_fm.compile(model) first")
    for _ in range(2):  # traced, and checked
        model(*inputs)
    signature = next(reversed(model._compiled.plans.values()))
    if signature.why is not None:
        raise ValueError(f"this call cannot be planned: {signature.why}")
    return signature.free[-1], [t.data for t in (*inputs, *signature.sources)]


def _fact(argument: Any) -> Hashable:
    """What a plan depends on in an argument: not the values of a tensor.

    Raises:
        TypeError: for what may change and stay the same object.
    """
    if isinstance(argument, Tensor):
        wants = argument._requires_grad + (argument.grad_fn is not None)  # and is no leaf
        return argument.data.shape, argument.data.dtype.char, wants
    parts = argument if isinstance(argument, tuple) else (argument,)
    if all(isinstance(part, _PLAIN) for part in parts):
        return repr(argument)  # 1, 1.0 and True are equal, and not the same
    raise TypeError(f"an argument is neither a tensor nor a number, text or tuple: {argument!r}")


_PLAIN = (bool, int, float, complex, str, type(None), np.generic, np.dtype, slice)


def _same(arguments: Sequence[Any]) -> Hashable:
    """Which of the tensors are one and the same array."""
    arrays = [id(x.data) for x in arguments if isinstance(x, Tensor)]
    return None if len(set(arrays)) == len(arrays) else tuple(map(arrays.index, arrays))


_OTHER = object()  # instead of a replay's result that is not that of the call that was traced


def _values_of(result: Any, graph: bool) -> list[Tensor]:
    """A result's tensors, without their graph, but (if wanted) with whether they have one."""
    tensors = () if result is None else (result,) if isinstance(result, Tensor) else result
    return [Tensor(y.data, graph and y.requires_grad) for y in tensors]


def _alike(ours: Any, theirs: Sequence[Tensor]) -> bool:
    """Whether two results are the same but for rounding, where both are finite."""
    for a, b in zip(_values_of(ours, True), theirs, strict=True):
        if a.shape != b.shape or a.dtype != b.dtype or a.requires_grad != b.requires_grad:
            return False
        finite = np.isfinite(a.data) & np.isfinite(b.data)
        x, y = (np.asarray(t.data[finite], complex) for t in (a, b))
        rough = 0.1 if a.dtype == np.float16 else 1e-3
        if np.abs(x - y).max(initial=0) > rough * np.abs(y).max(initial=0) + 1e-6:
            return False
    return True


def _tensors_of(module: Module) -> Iterator[Tensor]:
    """A module's parameters, buffers, and tensors that are neither."""
    yield from module.parameters()
    yield from module.buffers()
    for part in module.modules():
        yield from (value for value in vars(part).values() if isinstance(value, Tensor))


def _hooked(modules: Iterable[Module], whole: bool) -> Iterator[bool]:
    """Which modules have a hook. (That of a compiled module itself is called outside the plan.)"""
    for root in modules:
        yield from (bool(m._forward_hooks) for m in root.modules() if whole or m is not root)


def _state(modules: Iterable[Module]) -> Hashable:
    """What the forward passes of modules may depend on, besides the values of their tensors."""
    lines: list[Hashable] = []
    for root in modules:
        for name, module in root.named_modules():
            plain = [(key, told(value)) for key, value in vars(module).items() if key[0] != "_"]
            tensors = (*module._parameters.values(), *module._buffers.values())
            hooked = module is not root and bool(module._forward_hooks)
            lines.append((name, id(module), hooked, tuple(plain), *map(id, tensors)))
    return tuple(lines)


class Signature:
    """The calls with arguments of certain shapes and a function in a certain state."""

    def __init__(self) -> None:
        self.why: str | None = None  # it cannot be planned
        self.first: Trace | None = None
        self.fused: Trace | None = None
        self.checked = False  # by a second trace that is like the first
        self.kind: type = Tensor  # of results
        self.effects = Effects(lambda why: None, ())  # those of the first trace
        self.sources: list[Tensor] = []
        self.facts: Facts = ()
        self.free: list[Plan] = []

    def note(self, trace: Trace | None, result: Any, effects: Effects) -> str | None:
        """Take a trace; how it differs from the first, if it does."""
        assert trace is not None
        if self.first is not None:
            self.checked = True
            if not self.effects.like(effects):
                return "it calls optimizers in another way the next time"
            return self.first.differs(trace)
        self.effects = effects
        self.first, self.fused = trace, fuse(trace, mode.recording)
        self.kind = type(result)
        self.sources = [t if isinstance(t, Tensor) else Tensor(t) for t in trace.constants.values()]
        self.facts = tuple(map(_fact, self.sources))
        return None

    def ready(self) -> bool:
        """Whether calls can be replayed; if parameters are not what they were, all begins anew."""
        if tuple(map(_fact, self.sources)) != self.facts:
            self.__init__()  # type: ignore[misc]
        return self.checked

    def replay(
        self, inputs: Sequence[Tensor], check: Callable[[Any], bool] = lambda result: True
    ) -> Any:
        """The result by a plan of its own; `_OTHER` if the check of it fails, before any gradient
        is set."""
        assert self.first is not None
        assert self.fused is not None
        tensors = [*inputs, *self.sources]
        plan = self.free.pop() if self.free else self._build(self.fused, tensors)
        for call in self.effects.before:
            call.run()
        if self.effects.middle is not None:
            return self._step(plan, tensors, self.effects.after, check)
        result = self._result(replay(plan, self.free, self.first, tensors))
        return result if check(result) else _OTHER

    def _step(
        self,
        plan: Plan,
        tensors: Sequence[Tensor],
        after: Sequence[Effect],
        check: Callable[[Any], bool],
    ) -> Any:
        """A whole step: backward too, and the calls behind it."""
        loss, *outputs = plan.forward([t.data for t in tensors])
        result = self._result([Tensor(y) for y in outputs])
        if not check(result):
            return _OTHER
        deliver(tensors, plan.backward([np.ones_like(loss)]))
        plan.clearing(self.free)()
        for call in after:
            call.run()
        return result

    def _result(self, outputs: list[Tensor]) -> Any:
        """What the function returns: a tensor, several, or nothing."""
        if self.kind in (tuple, list):
            return self.kind(outputs)
        return outputs[0] if outputs else None

    def _build(self, trace: Trace, tensors: Sequence[Tensor]) -> Plan:
        given = (*trace.inputs, *trace.constants)
        pairs = zip(given, tensors, strict=True)
        wants = {v for v, t in pairs if t._requires_grad and mode.recording}
        recording = bool(wants.intersection(given))
        whole = self.effects.middle is not None
        roots = trace.outputs[:1] if whole else trace.outputs  # of a step: the loss
        kernels = [kernel_of(trace, node, recording) for node in trace.nodes]
        return build(trace, wants, kernels, roots)
