"""Modules: registration, state, modes, hooks, containers and how they are printed."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_fm as tg
from tinygrad_fm import Tensor, nn
from tinygrad_fm.nn import Module, ModuleList, Parameter, Sequential


@pytest.fixture(autouse=True)
def _seed() -> None:
    tg.manual_seed(0)


class Net(Module):
    """Registers a parameter, a buffer, modules and a plain attribute, in this order."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = Parameter(tg.ones(1))
        self.body = Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU())
        self.register_buffer("offset", tg.zeros(2))
        self.head = nn.Linear(4, 2, bias=False)
        self.note = "plain"

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x * self.scale)) + self.offset


class TorchNet(torch.nn.Module):
    """Its twin."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))
        self.body = torch.nn.Sequential(
            torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.ReLU()
        )
        self.register_buffer("offset", torch.zeros(2))
        self.head = torch.nn.Linear(4, 2, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x * self.scale)) + self.offset


PARAMETERS = [
    "scale",
    "body.0.weight",
    "body.0.bias",
    "body.1.weight",
    "body.1.bias",
    "head.weight",
]


# ------------------------------------------------------------------------ registration


def test_everything_is_found_in_torchs_order() -> None:
    net, twin = Net(), TorchNet()
    assert [name for name, _ in net.named_parameters()] == PARAMETERS
    for walk in ("named_parameters", "named_buffers", "named_modules", "named_children"):
        wanted = [name for name, _ in getattr(twin, walk)()]
        assert [name for name, _ in getattr(net, walk)()] == wanted
    assert list(net.state_dict()) == list(twin.state_dict())
    assert [type(m).__name__ for m in net.modules()] == [
        "Net" if type(m) is TorchNet else type(m).__name__ for m in twin.modules()
    ]
    assert len(list(net.parameters())) == 6
    assert len(list(net.buffers())) == 4
    assert list(net.children()) == [net.body, net.head]


def test_a_shared_parameter_is_trained_once_and_saved_under_each_name() -> None:
    net, twin = Net(), TorchNet()
    net.body[0].bias = net.shared = net.body[1].bias
    twin.body[0].bias = twin.shared = twin.body[1].bias
    assert len(list(net.parameters())) == len(list(twin.parameters())) == 5
    assert [n for n, _ in net.named_parameters()] == [n for n, _ in twin.named_parameters()]
    assert list(net.state_dict()) == list(twin.state_dict())
    assert net.state_dict()["shared"] is net.state_dict()["body.0.bias"]


def test_a_shared_buffer_is_named_once_and_saved_under_each_name() -> None:
    net, twin = Net(), TorchNet()
    net.register_buffer("shared", net.body[1].running_var)
    twin.register_buffer("shared", twin.body[1].running_var)
    assert [n for n, _ in net.named_buffers()] == [n for n, _ in twin.named_buffers()]
    assert list(net.state_dict()) == list(twin.state_dict())


def test_a_buffer_that_is_not_persistent_is_neither_saved_nor_asked_for() -> None:
    net, twin = Net(), TorchNet()
    net.body.register_buffer("table", tg.ones(2), persistent=False)
    twin.body.register_buffer("table", torch.ones(2), persistent=False)
    assert [n for n, _ in net.named_buffers()] == [n for n, _ in twin.named_buffers()]
    assert list(net.state_dict()) == list(twin.state_dict())
    net.load_state_dict(twin.state_dict())
    assert net.double().body.table.dtype == np.float64
    assert list(copy.deepcopy(net).state_dict()) == list(twin.state_dict())
    net.body.table = Parameter(tg.ones(1))
    twin.body.table = torch.nn.Parameter(torch.ones(1))
    assert "body.table" in net.state_dict()
    assert list(net.state_dict()) == list(twin.state_dict())
    net.register_buffer("offset", tg.ones(2), persistent=False)
    net.register_buffer("offset", tg.ones(2))
    assert "offset" in net.state_dict()


@pytest.mark.parametrize("walk", ["named_parameters", "named_buffers"])
@pytest.mark.parametrize("recurse", [True, False])
def test_walks_take_torchs_arguments(walk: str, recurse: bool) -> None:
    net, twin = Net(), TorchNet()
    for root, other in ((net, twin), (net.body, twin.body)):
        wanted = [name for name, _ in getattr(other, walk)("top", recurse)]
        assert [name for name, _ in getattr(root, walk)("top", recurse)] == wanted
        unnamed = getattr(root, walk.removeprefix("named_"))(recurse=recurse)
        assert len(list(unnamed)) == len(wanted)


def test_a_shared_module_is_walked_once_and_saved_under_each_name() -> None:
    layer, other = nn.Linear(2, 2), torch.nn.Linear(2, 2)
    net = Sequential(layer, nn.ReLU(), layer)
    twin = torch.nn.Sequential(other, torch.nn.ReLU(), other)
    assert [n for n, _ in net.named_modules()] == [n for n, _ in twin.named_modules()]
    assert [n for n, _ in net.named_children()] == [n for n, _ in twin.named_children()]
    assert len(list(net.parameters())) == 2
    net.load_state_dict(twin.state_dict())
    np.testing.assert_array_equal(layer.weight.data, other.weight.detach())
    assert "2: Linear" in repr(net)


def test_assignments_replace_what_had_the_name() -> None:
    net = Net()
    net.head = nn.Linear(4, 5)
    assert net.head.out_features == 5
    net.note = Parameter(tg.ones(3))
    assert dict(net.named_parameters())["note"].shape == (3,)
    net.offset = tg.ones(2)
    assert dict(net.named_buffers())["offset"].tolist() == [1, 1]
    net.head = None
    assert "head.weight" not in net.state_dict()
    assert net.head is None
    net.eval()
    assert "head" not in repr(net)
    assert list(net.children()) == [net.body]
    net.head = nn.Linear(1, 1)
    assert "head.weight" in net.state_dict()


def test_attributes_can_be_deleted() -> None:
    net = Net()
    for name in ("scale", "offset", "head", "note"):
        delattr(net, name)
        assert not hasattr(net, name)
        with pytest.raises(AttributeError):
            delattr(net, name)
    assert list(net.state_dict()) == [n for n in TorchNet().state_dict() if n.startswith("body")]


@pytest.mark.parametrize("value", [3, np.ones(1), [1.0]], ids=repr)
@pytest.mark.parametrize(("name", "kind"), [("scale", "Parameter"), ("head", "Module")])
def test_registered_names_keep_their_kind(name: str, kind: str, value: object) -> None:
    wanted = f"'{name}' is registered as a {kind}, got {type(value).__name__}"
    with pytest.raises(TypeError, match=wanted):
        setattr(Net(), name, value)
    with pytest.raises(TypeError, match="'offset' is registered as a Tensor"):
        Net().offset = value


def test_registering_what_does_not_fit() -> None:
    net = Net()
    with pytest.raises(TypeError, match="'table' is registered as a Tensor, got ndarray"):
        net.register_buffer("table", np.zeros(3))
    with pytest.raises(TypeError, match="'w' is registered as a Parameter, got Tensor"):
        net.register_parameter("w", tg.zeros(3))
    with pytest.raises(TypeError, match="'f' is registered as a Module, got function"):
        net.add_module("f", lambda x: x)


def test_attribute_errors_name_the_class() -> None:
    with pytest.raises(AttributeError, match="Net has no attribute 'hed'"):
        Net().hed  # noqa: B018


def test_forgetting_super_init() -> None:
    class Forgetful(Module):
        def __init__(self) -> None:
            self.layer = nn.Linear(1, 1)

    with pytest.raises(AttributeError, match=r"Forgetful: call super\(\).__init__\(\) first"):
        Forgetful()


def test_plain_attributes_may_come_before_super_init() -> None:
    class Sized(Module):
        def __init__(self) -> None:
            self.size = 3
            super().__init__()
            self.layer = nn.Linear(self.size, 1)

    net = Sized()
    assert net.size == 3
    assert list(net.state_dict()) == ["layer.weight", "layer.bias"]


def test_a_module_without_forward() -> None:
    for module in (Module(), ModuleList([nn.ReLU()])):
        with pytest.raises(NotImplementedError, match=f"{type(module).__name__} needs a forward"):
            module(tg.ones(1))


def test_dir_lists_what_is_registered() -> None:
    assert {"scale", "offset", "head", "note", "forward"} <= set(dir(Net()))


# ------------------------------------------------------------------------ state


def test_state_shares_memory_and_loading_writes_into_it() -> None:
    net, other = Net(), Net()
    state, weight = net.state_dict(), net.head.weight
    assert state["head.weight"] is weight.data
    other.load_state_dict(state)
    for name, array in other.state_dict().items():
        np.testing.assert_array_equal(array, state[name])
        assert not np.shares_memory(array, state[name])
    weight.data[0, 0] = 7
    assert state["head.weight"][0, 0] == 7


def test_torchs_state_loads_as_it_is() -> None:
    torch.manual_seed(0)
    twin, net = TorchNet(), Net()
    batch = torch.randn(8, 3)
    for _ in range(3):
        twin(batch)  # moves the running estimates
    net.load_state_dict(twin.state_dict())
    assert net.body[1].num_batches_tracked.item() == 3
    ours, theirs = net.eval()(Tensor(batch.numpy())), twin.eval()(batch)
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach(), rtol=1e-5, atol=1e-6)


def test_our_state_loads_into_torch() -> None:
    net, twin = Net(), TorchNet()
    twin.load_state_dict({name: torch.from_numpy(a) for name, a in net.state_dict().items()})
    x = tg.randn(8, 3)
    ours, theirs = net(x), twin(torch.tensor(x.data))
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach(), rtol=1e-4, atol=1e-5)


def test_loading_keeps_the_model_s_dtype_and_takes_tensors() -> None:
    net, other = Net(), Net().double()
    net.load_state_dict(dict(other.named_parameters()), strict=False)
    assert net.head.weight.dtype == np.float32
    np.testing.assert_allclose(net.head.weight.data, other.head.weight.data, rtol=1e-6)


def test_loading_lists_every_problem_and_changes_nothing() -> None:
    net = Net()
    before = {name: array.copy() for name, array in net.state_dict().items()}
    state = {name: array + 1 for name, array in Net().state_dict().items()}
    del state["scale"], state["body.1.running_var"]
    state["head.weight"] = np.zeros((2, 5), np.float32)
    state["body.0.bias"] = np.zeros(3, np.float32)
    state["extra"] = np.zeros(())
    with pytest.raises(ValueError, match="these weights do not fit Net") as caught:
        net.load_state_dict(state)
    assert str(caught.value).splitlines()[1:-1] == [
        "  missing: scale (1,)",
        "  missing: body.1.running_var (4,)",
        "  unexpected: extra ()",
        "  shape of body.0.bias: got (3,), wanted (4,)",
        "  shape of head.weight: got (2, 5), wanted (2, 4)",
    ]
    assert "same arguments" in str(caught.value).splitlines()[-1]
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_loading_another_architecture() -> None:
    small = Sequential(nn.Linear(3, 2))
    with pytest.raises(ValueError, match=r"(?s)missing: 0\.weight.*unexpected: scale"):
        small.load_state_dict(Net().state_dict())


def test_loading_loosely_takes_what_fits() -> None:
    net, state = Net(), {"head.weight": np.ones((2, 4)), "extra": np.ones(3)}
    net.load_state_dict(state, strict=False)
    assert net.head.weight.tolist() == [[1] * 4] * 2
    with pytest.raises(ValueError, match="shape of scale"):
        net.load_state_dict({"scale": np.ones(2)}, strict=False)


def test_loading_while_a_graph_is_alive_leaves_its_gradients_right() -> None:
    layer = nn.Linear(2, 1, bias=False)
    x = tg.tensor([[1.0, 2.0]], requires_grad=True)
    old = layer.weight.tolist()
    loss = layer(x).sum()
    layer.load_state_dict({"weight": np.array([[5.0, 6.0]])})
    assert layer.weight.tolist() == [[5, 6]]
    loss.backward()
    assert x.grad is not None
    assert x.grad.tolist() == old


def test_deepcopy_shares_nothing() -> None:
    net = Net()
    net(tg.randn(4, 3)).sum().backward()
    twin = copy.deepcopy(net)
    assert list(twin.state_dict()) == list(net.state_dict())
    for name, array in twin.state_dict().items():
        np.testing.assert_array_equal(array, net.state_dict()[name])
        assert not np.shares_memory(array, net.state_dict()[name])
    twin.body[0].weight.data[...] = 0
    twin.note = "changed"
    assert net.body[0].weight.data.any()
    assert net.note == "plain"
    assert all(p.requires_grad and p.grad is not None for p in twin.parameters())


def test_deepcopy_keeps_what_is_shared_inside() -> None:
    layer = nn.Linear(2, 2)
    twin = copy.deepcopy(Sequential(layer, nn.ReLU(), layer))
    assert twin[0] is twin[2]
    assert twin[0] is not layer


def test_pickle_brings_a_module_back() -> None:
    layer = nn.Linear(3, 2)
    twin = pickle.loads(pickle.dumps(layer))
    np.testing.assert_array_equal(twin.weight.data, layer.weight.data)
    assert twin.weight.requires_grad
    assert twin(tg.ones(1, 3)).shape == (1, 2)


# ------------------------------------------------------------------------ modes, types, apply


def test_train_and_eval_reach_every_module() -> None:
    net = Net()
    assert all(m.training for m in net.modules())
    assert net.eval() is net
    assert not any(m.training for m in net.modules())
    net.body.train()
    assert [m.training for m in net.children()] == [True, False]


def test_a_layer_may_refuse_to_train() -> None:
    class Frozen(nn.BatchNorm1d):
        def train(self, mode: bool = True) -> Module:
            return super().train(False)

    net = Sequential(nn.Linear(2, 2), Frozen(2))
    net.train()
    assert [m.training for m in net.modules()] == [True, True, False]


def test_zero_grad_and_freezing() -> None:
    net = Net()
    net(tg.randn(4, 3)).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    net.head.weight.grad = None
    net.zero_grad(set_to_none=False)
    assert [p.grad.data.any() for p in net.parameters() if p.grad is not None] == [False] * 5
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    net.body.requires_grad_(False)
    net(tg.randn(4, 3)).sum().backward()
    assert [n for n, p in net.named_parameters() if p.grad is not None] == ["scale", "head.weight"]


def test_conversion_reaches_floating_point_state_only() -> None:
    net = Net().double()
    dtypes = {name: array.dtype for name, array in net.state_dict().items()}
    assert dtypes.pop("body.1.num_batches_tracked") == np.int64
    assert set(dtypes.values()) == {np.dtype(np.float64)}
    assert net(tg.randn(4, 3, dtype=tg.float64)).dtype == np.float64
    weight = net.head.weight.data
    assert net.to(np.float64) is net
    assert net.to("cpu").head.weight.data is weight
    assert net.float().head.weight.dtype == np.float32
    for dtype in (np.int64, bool):
        with pytest.raises(TypeError, match="of a floating-point dtype, got"):
            net.to(dtype)
    assert net.head.weight.dtype == np.float32


def test_apply_visits_children_first() -> None:
    names = []
    net = Net()
    assert net.apply(lambda m: names.append(type(m).__name__)) is net
    assert names == ["Linear", "BatchNorm1d", "ReLU", "Sequential", "Linear", "Net"]


def test_hooks_see_and_change_the_output_until_removed() -> None:
    layer, seen = nn.ReLU(), []
    watching = layer.register_forward_hook(lambda m, i, o: seen.append((m, i[0].item(), o.item())))
    doubling = layer.register_forward_hook(lambda m, i, o: o * 2)
    assert layer(tg.tensor(3.0)).item() == 6
    assert seen == [(layer, 3, 3)]
    watching.remove()
    assert layer(tg.tensor(3.0)).item() == 6
    doubling.remove()
    doubling.remove()
    assert layer(tg.tensor(3.0)).item() == 3
    assert len(seen) == 1
    layer.register_forward_hook(lambda m, i, o: o * 3)
    watching.remove()
    assert layer(tg.tensor(3.0)).item() == 9


def test_hooks_inside_a_convolution_block_are_called() -> None:
    seen = []
    net = Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    x = tg.randn(1, 1, 4, 4)
    without = net(x)
    net[1].register_forward_hook(lambda m, i, o: seen.append(o.shape))
    np.testing.assert_allclose(net(x).detach().numpy(), without.detach().numpy(), atol=1e-6)
    assert seen == [(1, 2, 4, 4)]


# ------------------------------------------------------------------------ containers


def test_sequential_is_indexed_and_extended() -> None:
    net = Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    assert (len(net), type(net[1]), net[-1].out_features) == (3, nn.ReLU, 1)
    assert net.append(nn.Sigmoid()) is net
    assert [name for name, _ in net.named_children()] == ["0", "1", "2", "3"]
    assert [type(m) for m in net] == [nn.Linear, nn.ReLU, nn.Linear, nn.Sigmoid]
    net[-1] = nn.Tanh()
    assert type(net[3]) is nn.Tanh
    x = tg.randn(5, 2)
    assert net(x).tolist() == net[2:](net[:2](x)).tolist()
    with pytest.raises(IndexError):
        net[4]
    with pytest.raises(IndexError):
        net[4] = nn.ReLU()


def test_slices_keep_names_as_torchs_do() -> None:
    names = OrderedDict(a=nn.Linear(1, 1), b=nn.ReLU(), c=nn.Linear(1, 1))
    assert list(Sequential(names)[1:].state_dict()) == ["c.weight", "c.bias"]
    tail = Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1))[1:]
    twin = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.ReLU(), torch.nn.Linear(1, 1))[1:]
    assert list(tail.state_dict()) == list(twin.state_dict())
    tail.append(nn.Tanh())
    assert [type(m) for m in tail] == [nn.ReLU, nn.Linear, nn.Tanh]


CONTAINERS = {
    "Sequential": lambda lib, layers: lib.Sequential(*layers),
    "named": lambda lib, layers: lib.Sequential(OrderedDict(zip("abcd", layers, strict=True))),
    "ModuleList": lambda lib, layers: lib.ModuleList(layers),
}


@pytest.mark.parametrize("index", [0, -1, slice(1, 3)], ids=str)
@pytest.mark.parametrize("build", CONTAINERS.values(), ids=CONTAINERS)
def test_deleting_numbers_the_rest_as_torch_does(build: Any, index: Any) -> None:
    trees = []
    for lib in (nn, torch.nn):
        net = build(lib, [lib.Linear(1, n) for n in range(1, 5)])
        del net[index]
        trees.append([(name, layer.out_features) for name, layer in net.named_children()])
        with pytest.raises(IndexError):
            del net[7]
        assert len(net) == len(trees[-1])
    assert trees[0] == trees[1]


def test_module_lists_take_a_module_anywhere() -> None:
    ours, theirs = ModuleList(), torch.nn.ModuleList()
    for out, index in enumerate((0, 0, 1, 3, 0), start=1):
        ours.insert(index, nn.Linear(1, out))
        theirs.insert(index, torch.nn.Linear(1, out))
        assert [m.out_features for m in ours] == [m.out_features for m in theirs]
    assert list(ours.state_dict()) == list(theirs.state_dict())
    with pytest.raises(TypeError, match="registered as a Module"):
        ours.insert(0, nn.functional.relu)
    assert len(ours) == 5


def test_sequential_takes_names() -> None:
    net = Sequential(OrderedDict(first=nn.Linear(2, 3), act=nn.ReLU()))
    assert list(net.state_dict()) == ["first.weight", "first.bias"]
    assert net.first is net[0]


def test_module_lists_register_their_modules() -> None:
    class Stack(Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = ModuleList(nn.Linear(2, 2) for _ in range(2))
            self.layers.extend([nn.Linear(2, 2)]).append(nn.Linear(2, 2))

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = layer(x)
            return x

    stack = Stack()
    assert len(list(stack.parameters())) == 8
    assert list(stack.state_dict())[-1] == "layers.3.bias"
    assert len(stack.layers[1:]) == 3
    assert stack(tg.ones(1, 2)).shape == (1, 2)
    assert list(Module().modules()) != []
    assert len(ModuleList()) == 0
    stack.layers = ModuleList()
    assert [name for name, _ in stack.named_modules()] == ["", "layers"]


@pytest.mark.parametrize("build", [Sequential, lambda *m: ModuleList(m)])
def test_containers_hold_modules_only(build: type) -> None:
    with pytest.raises(TypeError, match="'1' is registered as a Module, got function"):
        build(nn.ReLU(), nn.functional.relu)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2, "padding": 1, "dilation": 3},
        {"stride": (2, 1), "padding": (0, 1)},
        {"padding": "same"},
    ],
    ids=str,
)
def test_sizes_of_convolutions_are_pairs_as_torchs(options: dict) -> None:
    ours, theirs = nn.Conv2d(2, 3, 5, **options), torch.nn.Conv2d(2, 3, 5, **options)
    for name in ("kernel_size", "stride", "padding", "dilation"):
        assert getattr(ours, name) == getattr(theirs, name)
    upwards, twin = nn.ConvTranspose2d(2, 3, (2, 3)), torch.nn.ConvTranspose2d(2, 3, (2, 3))
    assert upwards.output_padding == twin.output_padding
    assert upwards.kernel_size[1] * upwards.out_channels == 9


@pytest.mark.parametrize("flag", ["affine", "track_running_stats"])
@pytest.mark.parametrize("value", [True, False])
def test_batch_norm_remembers_its_flags(flag: str, value: bool) -> None:
    for lib in (nn, torch.nn):
        assert getattr(lib.BatchNorm2d(3, **{flag: value}), flag) is value


RESETS = {
    "BatchNorm2d": lambda lib: lib.BatchNorm2d(3),
    "BatchNorm1d plain": lambda lib: lib.BatchNorm1d(3, affine=False),
    "BatchNorm1d untracked": lambda lib: lib.BatchNorm1d(3, track_running_stats=False),
    "LayerNorm": lambda lib: lib.LayerNorm((2, 3)),
    "LayerNorm without bias": lambda lib: lib.LayerNorm(3, bias=False),
    "LayerNorm plain": lambda lib: lib.LayerNorm(3, elementwise_affine=False),
}


@pytest.mark.parametrize("build", RESETS.values(), ids=RESETS)
def test_normalisation_begins_anew_as_torchs(build: Any) -> None:
    ours, theirs = build(nn), build(torch.nn)
    for _ in range(2):
        assert list(ours.state_dict()) == list(theirs.state_dict())
        for name, array in ours.state_dict().items():
            wanted = theirs.state_dict()[name].numpy()
            assert array.dtype == wanted.dtype
            np.testing.assert_array_equal(array, wanted)
            array += 7
        ours.reset_parameters()


# ------------------------------------------------------------------------ printing


def test_a_module_prints_as_a_tree_with_counts() -> None:
    assert repr(Net()).splitlines() == [
        "Net()  # 33 parameters",
        "|- body: Sequential()  # 24 parameters",
        "|  |- 0: Linear(3, 4)  # 16 parameters",
        "|  |- 1: BatchNorm1d(4)  # 8 parameters",
        "|  `- 2: ReLU()",
        "`- head: Linear(4, 2, bias=False)  # 8 parameters",
    ]
    assert "101,770 parameters" in repr(Sequential(nn.Linear(784, 128), nn.Linear(128, 10)))


LAYERS = [
    nn.Conv2d(1, 2, 3),
    nn.Conv2d(2, 4, (3, 1), stride=2, padding="valid", dilation=2, groups=2, bias=False),
    nn.ConvTranspose2d(1, 2, 3),
    nn.LayerNorm((2, 3)),
    nn.Dropout(0.25),
    nn.MaxPool2d(2),
    nn.AvgPool2d((2, 1)),
    nn.AdaptiveAvgPool2d(1),
    nn.LeakyReLU(0.2),
    nn.ELU(),
    nn.Softmax(dim=1),
    nn.LogSoftmax(dim=-1),
    nn.CrossEntropyLoss(),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda m: type(m).__name__)
def test_layers_print_their_arguments(layer: Module) -> None:
    text = repr(layer)
    assert text.startswith(f"{type(layer).__name__}(")
    assert layer.extra_repr()
    assert layer.extra_repr() in text
    assert "\n" not in text


def test_conv_prints_only_what_differs_from_the_default() -> None:
    assert LAYERS[0].extra_repr() == "1, 2, kernel_size=3"
    assert LAYERS[1].extra_repr() == (
        "2, 4, kernel_size=(3, 1), stride=2, padding=valid, dilation=2, groups=2, bias=False"
    )
