"""What changes unnoticed by modules, between calls that are planned."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

import tinygrad_fm as tg
from tinygrad_fm import nn, tensor
from tinygrad_fm.plan.compiled import KEPT
from tinygrad_fm.plan.state import told

SCALE, TABLE = 2.0, {"by": 2.0}


class Net(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function, self.scales = function, [2.0]
        self.table = {"by": [2.0]}
        self.config = SimpleNamespace(inner=SimpleNamespace(by=2.0))
        self.tensors = [tg.tensor(2.0)]
        self.unread = []

    def forward(self, x):
        return self.function(self, x)


def helper(x):
    return x * SCALE


def set_global(model):
    globals()["SCALE"] = 3.0


@pytest.mark.parametrize(
    ("function", "change"),
    [
        pytest.param(lambda m, x: x * m.scales[-1], lambda m: m.scales.append(3.0), id="list"),
        pytest.param(
            lambda m, x: x * m.table["by"][0], lambda m: m.table.update(by=[3.0]), id="dict"
        ),
        pytest.param(
            lambda m, x: x * m.config.inner.by,
            lambda m: setattr(m.config.inner, "by", 3.0),
            id="object",
        ),
        pytest.param(
            lambda m, x: x * m.tensors[0],
            lambda m: m.tensors.__setitem__(0, tg.tensor(3.0)),
            id="tensor in a list",
        ),
        pytest.param(lambda m, x: x * SCALE, set_global, id="global"),
        pytest.param(lambda m, x: helper(x), set_global, id="global of a helper"),
        pytest.param(
            lambda m, x: x * TABLE["by"], lambda m: TABLE.update(by=3.0), id="dict, global"
        ),
    ],
)
def test_a_module_whose_surroundings_change(function, change, monkeypatch):
    monkeypatch.setitem(globals(), "SCALE", 2.0)
    monkeypatch.setitem(TABLE, "by", 2.0)
    model, x = tg.compile(Net(function)), tg.ones(2)
    for i in range(4):
        model.unread.append(i)  # which no method reads
        np.testing.assert_array_equal(model(x).data, [2, 2])
    assert [len(signature.free) for signature in model._compiled.plans.values()] == [1]
    change(model)
    for _ in range(4):
        np.testing.assert_array_equal(model(x).data, [3, 3])
    assert [len(signature.free) for signature in model._compiled.plans.values()] == [1, 1]


class Callable:
    def __init__(self):
        self.by, self.drop = 2.0, nn.Dropout(0.0)

    def __call__(self, x):
        return self.drop(x) * self.by

    def method(self, x):
        return self(x)


def closure():
    by = 2.0
    drop = [nn.Dropout(0.0)]

    def function(x):
        return drop[0](x) * by

    def change():
        nonlocal by
        by = 3.0
        drop[0].eval()

    return function, change


def an_object():
    thing = Callable()
    return thing, lambda: setattr(thing, "by", 3.0)


def bound_method():
    thing = Callable()
    return thing.method, lambda: setattr(thing, "by", 3.0)


def bound_in_advance():
    table = {"by": 2.0}
    return partial(lambda t, x: x * t["by"], table), lambda: table.update(by=3.0)


def default():
    def function(x, table=[2.0]):  # noqa: B006
        return x * table[0]

    return function, lambda: function.__defaults__[0].__setitem__(0, 3.0)


@pytest.mark.parametrize("make", [closure, an_object, bound_method, bound_in_advance, default])
def test_a_function_whose_surroundings_change(make):
    function, change = make()
    compiled, x = tg.compile(function), tg.ones(2)
    for _ in range(4):
        np.testing.assert_array_equal(compiled(x).data, [2, 2])
    change()
    for _ in range(4):
        np.testing.assert_array_equal(compiled(x).data, [3, 3])
    assert [signature.why for signature in compiled.plans.values()] == [None, None]


def test_modules_in_a_list_are_seen():
    layers = [nn.Dropout(0.5)]

    def function(x):
        for layer in layers:
            x = layer(x)
        return x

    compiled, x = tg.compile(function), tg.ones(100)
    assert all(set(compiled(x).tolist()) == {0.0, 2.0} for _ in range(4))
    layers[0].eval()
    assert all(set(compiled(x).tolist()) == {1.0} for _ in range(4))


def test_who_counts_its_calls_is_not_planned():
    calls = [0]

    def function(x):
        calls[0] += 1
        return x * (2 if calls[0] % 3 else 3)

    compiled = tg.compile(function)
    with pytest.warns(UserWarning, match="changes what it depends on") as caught:
        found = [compiled(tg.ones(1)).item() for _ in range(6)]
    assert found == [2, 2, 3, 2, 2, 3]
    assert len(caught) == 1


def test_what_is_told_of_a_value():
    loop = []
    loop.append(loop)
    assert told(loop) == told(loop)
    assert told([1]) != told([True])
    assert told([1.0]) != told([1])
    assert told({"a": {"b": {1, 2}}}) == told({"a": {"b": {1, 2}}})
    assert told((np.float32(1),)) != told((np.float64(1),))
    assert told([0.0]) != told([-0.0])


def test_a_function_that_is_called_in_another_way_each_time_is_given_up():
    f = tg.compile(lambda x, i: x * i)
    x = tensor([1.0, 2.0])
    with pytest.warns(UserWarning, match="another in nearly every call") as caught:
        results = [f(x, i).data[1] for i in range(5 * KEPT)]
    assert results == [2 * i for i in range(5 * KEPT)]
    assert len(caught) == 1
    assert not f.plans


def test_some_calls_in_another_way_do_no_harm():
    f = tg.compile(lambda x, i: x * i)
    x = tensor([1.0, 2.0])
    for i in range(3 * KEPT):
        for _ in range(2):
            assert f(x, i).data[1] == 2 * i
    assert len(f.plans) == KEPT
