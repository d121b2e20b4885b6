"""What all optimizers share: parameter groups, state, and the walk over the parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tinygrad_fm.autograd import enable_grad
from tinygrad_fm.autograd.mode import effect
from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.ops.fast.memory import whole_of
from tinygrad_fm.ops.fast.parallel import parallel_for
from tinygrad_fm.optim.whole import Group, Scratch, State, Whole

Params = Iterable[Tensor] | Iterable[Group]
Array = np.ndarray

# A buffer whose gradients have become exactly zero (a dead unit, a border pixel) shrinks by a
# constant factor per step and within some hundred steps reaches the denormal numbers, where it even
# stays: 0.9 times the smallest one rounds to itself. Many CPUs compute denormals in microcode, 10
# to 100 times slower; measured on an AMD EPYC, which is mild, an Adam step on 784x128 float32
# numbers took 168 µs instead of 108 µs (float64: 363 instead of 260, RMSprop: 131 instead of 90,
# SGD the same). So every 64th step sets to zero what has become negligible, for about 1 % of the
# time (20 µs per 784x128 buffer). The limit lies 1e8 above the smallest normal number (1e-30 in
# float32, 2e-300 in float64): room to shrink for 64 more steps and to be multiplied by a learning
# rate. A mean of squares that small is nothing beside eps.
FLUSH_EVERY = 64
FLUSH_BELOW_TINY_TIMES = 1e8


class Optimizer:
    """Base class: a subclass passes its defaults to `__init__` and writes `_update`.

    The options "weight_decay" and "maximize" are seen to here, where the defaults have them.

    `param_groups` is a list of dicts, each with the list "params" and a value for every option;
    `state` maps a parameter to a dict with the count "step" and the optimizer's buffers.

    Args:
        params: parameters (leaf tensors), or dicts such as `{"params": [...], "lr": 0.01}`.
        defaults: the options of groups that don't name their own.

    Raises:
        TypeError: `params` is a tensor, or holds something that is not a tensor.
        ValueError: no parameters, one that occurs twice, or a tensor that is not a leaf.

    Source: https://pytorch.org/docs/stable/optim.html
    """

    def __init__(self, params: Params, defaults: Group) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                "an optimizer takes a list of parameters or of dicts, got one tensor; "
                "put it into a list"
            )
        self.defaults = defaults
        self.state: dict[Tensor, State] = {}
        self.param_groups: list[Group] = []
        self._scratch: dict[Tensor, Scratch] = {}
        self._wholes: dict[int, Whole | None] = {}  # by the number of the group
        entries: list[Any] = list(params)
        if not entries:
            raise ValueError(
                "an optimizer got no parameters; a generator such as model.parameters() "
                "can be used up only once"
            )
        groups = entries if isinstance(entries[0], dict) else [{"params": entries}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, param_group: Group) -> None:
        """Add parameters with options of their own: `{"params": [...], "lr": 0.01}`."""
        if not isinstance(param_group, dict) or "params" not in param_group:
            raise TypeError(
                f'a parameter group is a dict with the key "params", got {param_group!r}'
            )
        params = param_group["params"]
        params = [params] if isinstance(params, Tensor) else list(params)
        known = {id(p) for p in self._parameters()}
        for p in params:
            _check_parameter(p, known)
            known.add(id(p))
        options = {**self.defaults, **param_group}
        # A NumPy scalar would turn float32 updates into float64 ones; Python's are weak.
        options = {k: v.item() if isinstance(v, np.generic) else v for k, v in options.items()}
        self.param_groups.append({**options, "params": params})

    @effect
    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop all gradients, or set them to zero."""
        for p in self._parameters():
            if set_to_none:
                p.grad = None
            elif p.grad is not None:
                p.grad.data.fill(0.0)

    @effect
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient, in place.

        Args:
            closure: called first: computes the loss and the gradients, returns the loss. Inside
                `no_grad`, too, it is recorded.

        Returns:
            what the closure returned, or None.

        Raises:
            TypeError: if a parameter has another dtype than the state from its earlier steps.
        """
        loss = None if closure is None else enable_grad(closure)()
        for number, group in enumerate(self.param_groups):
            grads = [p.grad.data for p in group["params"] if p.grad is not None]
            if self._step_whole(number, group, grads):
                continue
            for p in group["params"]:
                if p.grad is not None:
                    self._step_one(p, p.grad.data, group)
        return loss

    def _step_whole(self, number: int, group: Group, grads: list[Array]) -> bool:
        """Update all parameters of a group at once, where they and their gradients are parts of
        one array each; whether that was done."""
        g = whole_of(grads) if grads and len(grads) == len(group["params"]) else None
        if g is None or not type(self)._update.__module__.startswith("tinygrad_fm."):
            return False  # or an update of the user's, which may not be element by element
        states = [self.state.get(p) for p in group["params"]]
        whole = self._wholes.get(number)
        if whole is None or not whole.holds(group["params"], states):
            whole = self._wholes[number] = Whole.of(group["params"], states)
        if whole is None or whole.p.dtype != g.dtype:
            return False
        for state in whole.states:
            state["step"] += 1
        step = whole.states[0]["step"]

        def update(i: int) -> None:
            s, state, scratch = whole.chunks[i]
            state["step"], p = step, whole.p[s]
            self._update(p, _penalized(p, g[s], group, scratch[0]), state, group, scratch)
            if step % FLUSH_EVERY == 0:
                self._flush(p, state, group, scratch[0])

        parallel_for(update, len(whole.chunks))
        return True

    def _step_one(self, parameter: Tensor, grad: Array, group: Group) -> None:
        p = _writeable(parameter)
        state = self.state.setdefault(parameter, {"step": 0})
        scratch = self._scratch.get(parameter)
        if scratch is None or scratch[0].dtype != p.dtype:
            scratch = self._scratch[parameter] = (np.empty_like(p), np.empty_like(p))
        state["step"] += 1
        self._update(p, _penalized(p, grad, group, scratch[0]), state, group, scratch)
        if state["step"] % FLUSH_EVERY == 0:  # counted in the state: the same when resumed
            self._flush(p, state, group, scratch[0])

    @staticmethod
    def _flush(p: Array, state: State, group: Group, scratch: Array) -> None:
        if group.get("weight_decay"):
            _flush(p, scratch)  # weights that nothing but the decay moves any more
        for value in state.values():
            if isinstance(value, np.ndarray):
                _flush(value, scratch)

    def _update(self, p: Array, g: Array, state: State, group: Group, scratch: Scratch) -> None:
        """Update one parameter and its state in place.

        Args:
            g: the gradient with weight decay (or its negative, to maximize); read, never written.
            scratch: two arrays like `p` for intermediate results, so that none is allocated. The
                first may be the memory of g.
        """
        raise NotImplementedError

    @staticmethod
    def _not_negative(**options: float) -> Group:
        """The options; ValueError for the first that is negative or NaN."""
        for name, value in options.items():
            if not value >= 0.0:
                raise ValueError(f"Invalid {name} value: {value}; expected a number of at least 0")
        return options

    @staticmethod
    def _mean(state: State, name: str, p: Array, value: Array, decay: float, out: Array) -> Array:
        """state[name] = decay · state[name] + (1 - decay) · value; `value` may be in `out`."""
        mean = buffer(state, name, p)
        np.multiply(mean, decay, out=mean)
        np.multiply(value, 1 - decay, out=out)
        return np.add(mean, out, out=mean)

    def state_dict(self) -> dict[str, Any]:
        """Return `{"state": {index: {...}}, "param_groups": [...]}`, as PyTorch does.

        Parameters are replaced by their index, counted over all groups. The buffers are the live
        ndarrays, not copies; everything else is JSON-able.
        """
        index = {p: i for i, p in enumerate(self._parameters())}
        return {
            "state": {index[p]: dict(state) for p, state in self.state.items()},
            "param_groups": [
                {**group, "params": [index[p] for p in group["params"]]}
                for group in self.param_groups
            ],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a `state_dict`: ours, or PyTorch's with its tensors turned into arrays.

        Buffers are copied in their parameter's dtype. If anything is wrong nothing is changed.

        Raises:
            ValueError: keys are missing, or the number or sizes of the groups or the shape of a
                buffer differ from this optimizer's.
        """
        missing = {"state", "param_groups"} - state_dict.keys()
        if missing:
            raise ValueError(f"an optimizer's state dict has no {sorted(missing)}")
        saved_groups = state_dict["param_groups"]
        saved_sizes = [len(group["params"]) for group in saved_groups]
        sizes = [len(group["params"]) for group in self.param_groups]
        if saved_sizes != sizes:
            raise ValueError(
                f"the state dict has parameter groups of sizes {saved_sizes}, this optimizer of "
                f"{sizes}; build the optimizer over the same parameters as the saved one"
            )
        saved_indices = [index for group in saved_groups for index in group["params"]]
        parameters = dict(zip(saved_indices, self._parameters(), strict=True))
        saved_state = {int(index): saved for index, saved in state_dict["state"].items()}  # of JSON
        unknown = saved_state.keys() - parameters.keys()
        if unknown:
            raise ValueError(
                f"the state dict has state for {sorted(unknown)}, "
                f"but its groups name only the parameters {saved_indices}"
            )
        self.state = {
            parameters[index]: _load_state(index, parameters[index].data, saved)
            for index, saved in saved_state.items()
        }
        for group, saved in zip(self.param_groups, saved_groups, strict=True):
            group.update({**saved, "params": group["params"]})

    def _parameters(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def __repr__(self) -> str:
        lines = []
        for i, group in enumerate(self.param_groups):
            options = ", ".join(f"{k}={v}" for k, v in group.items() if k != "params")
            lines.append(f"    ({i}): {len(group['params'])} parameters, {options}\n")
        return f"{type(self).__name__}(\n{''.join(lines)})"


def buffer(state: State, name: str, p: Array) -> Array:
    """The buffer `state[name]`, which starts as zeros like `p`."""
    if name not in state:
        state[name] = np.zeros_like(p)
    found = state[name]
    if found.dtype != p.dtype:
        raise TypeError(
            f"the optimizer's {name} is {found.dtype}, the parameter now {p.dtype}; convert a "
            "model before its first step, or build a new optimizer"
        )
    return found


def _penalized(p: Array, grad: Array, group: Group, out: Array) -> Array:
    """Return g = ±grad + weight_decay · p (minus to maximize), in `out` or `grad` itself.

    Decoupled, the decay shrinks p itself, by lr · weight_decay · p, and leaves the gradient alone.
    """
    weight_decay, maximize = group.get("weight_decay"), group.get("maximize")
    if weight_decay and group.get("decoupled_weight_decay"):
        np.multiply(p, 1 - group["lr"] * weight_decay, out=p)
    elif weight_decay:
        np.multiply(p, weight_decay, out=out)
        return (np.subtract if maximize else np.add)(out, grad, out=out)
    return np.negative(grad, out=out) if maximize else grad


def _check_parameter(p: Any, known: set[int]) -> None:
    if not isinstance(p, Tensor):
        raise TypeError(
            f"an optimizer takes parameters (tensors), got {type(p).__name__}; "
            "pass model.parameters()"
        )
    if not p.is_leaf:
        raise ValueError(
            f"an optimizer takes leaf tensors, got the result of an operation: {p!r}; "
            "pass the parameter that it was computed from"
        )
    if id(p) in known:
        raise ValueError(f"a parameter appears twice in one optimizer: {p!r}; pass it once")


def _writeable(p: Tensor) -> np.ndarray:
    """The parameter's array, replaced by a copy if a live graph has locked it.

    The graph goes on seeing the values that it saved, and its gradients stay right.
    """
    if not p.data.flags.writeable:
        p.data = p.data.copy(order="K")
    return p.data


def _flush(array: np.ndarray, scratch: np.ndarray) -> None:
    """Set negligible elements to zero, before they become denormal (see the top of this file)."""
    limit = np.finfo(array.dtype).tiny * FLUSH_BELOW_TINY_TIMES
    array[np.abs(array, out=scratch) < limit] = 0.0


def _load_state(index: int, param: np.ndarray, saved: State) -> State:
    """One parameter's state: the step as an int, buffers copied in the parameter's dtype."""
    state: State = {"step": int(saved.get("step", 0))}
    for name, value in saved.items():
        if name == "step" or value is None:
            continue
        if np.shape(value) != param.shape:
            raise ValueError(
                f"the state dict's {name} of parameter {index} has shape {np.shape(value)}, "
                f"the parameter {param.shape}; load the state of the same model"
            )
        np.copyto(buffer(state, name, param), value)
    return state
