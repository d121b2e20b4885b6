"""A user's own script passes `mypy --strict` and pyright's strict mode, and runs."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tinygrad_fm

ROOT = Path(tinygrad_fm.__file__).parents[1]
SCRIPT = """\
import numpy as np

import tinygrad_fm as tg
from tinygrad_fm import Tensor, nn, optim
from tinygrad_fm.data import ArrayDataset, DataLoader
from tinygrad_fm.nn import functional as F


class Net(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(4, width)
        self.body = nn.Sequential(nn.ReLU(), nn.Linear(width, 2))
        self.scale = nn.Parameter(tg.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.first(x)) * self.scale


class Two(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


@tg.no_grad()
def measured(model: nn.Module, x: Tensor) -> float:
    return float(model(x).mean())


@tg.no_grad
def bare(x: Tensor) -> Tensor:
    return x.relu()


x: Tensor = tg.randn(8, 4)
y = tg.tensor([0, 1] * 4)
z: Tensor = tg.cat([x, x * 2.0, 1 - x], dim=0)
w: Tensor = (-z @ z.T).sum(dim=1, keepdim=True) ** 2 / 3 + z[0, 1:3].max()
top: Tensor = tg.exp(x).mean() + tg.where(x > 0, x, tg.zeros(8, 4)).sum() + tg.sigmoid(x).max()
model = Net(3)
scores: Tensor = model(x)
both: Tensor = Two()(x, x)
sequence = nn.Sequential(nn.Flatten(), model)
out: Tensor = sequence(x)
with tg.no_grad():
    mean: float = measured(model, bare(x))
optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
schedule = optim.lr_scheduler.StepLR(optimizer, 1)
loss_fn = nn.CrossEntropyLoss()
for _ in range(2):
    optimizer.zero_grad()
    loss: Tensor = loss_fn(model(x), y)
    loss.backward()
    optimizer.step()
    schedule.step()
def accuracy(scores: Tensor, labels: Tensor) -> Tensor:
    values, places = scores.max(1)
    return (places == labels).float().mean(axis=0) + values.max()


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor, *, double: bool = False) -> Tensor:
        for layer in self.layers:
            x = F.relu(layer(x))
        return self.drop(x)


accuracy(Tied()(x), y)
data = ArrayDataset(np.zeros((4, 1, 28, 28), np.uint8), np.arange(4), tuple("abcd"), "four")
loader = DataLoader(data, 2, shuffle=True)
for images, labels in loader:
    pictures: Tensor = images
    right = (model(x).argmax(dim=1) == y).float().mean().item()
    F.cross_entropy(scores, y)
    break
a = tg.tensor([1.0, 2.0], requires_grad=True)
(g,) = tg.autograd.grad((a * a).sum(), a, create_graph=True)
print(g.sum().item(), mean, model.state_dict().keys(), a.grad, top.shape, tg.bool, tg.float32)
(a * 2).sum().backward()
if a.grad is not None:
    print(a.grad.numpy())
"""
WRONG = """\
import tinygrad_fm as tg

x: int = tg.randn(2) + 1
y: str = tg.nn.Linear(2, 2)(tg.randn(2))
tg.nonsense()
"""


def mypy(script, tmp_path):
    path = tmp_path / "script.py"
    path.write_text(script, encoding="utf-8")
    # silent: what is strict in the package itself is not the user's, as if it were installed
    options = ["--strict", "--follow-imports=silent", "--config-file="]
    options.append(f"--cache-dir={ROOT / '.mypy_cache/strict'}")
    return subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(path)],
        cwd=ROOT,
        env={"MYPYPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=300,
    ).stdout


def test_a_users_script_is_typed(tmp_path):
    assert mypy(SCRIPT, tmp_path) == "Success: no issues found in 1 source file\n"
    exec(compile(SCRIPT, "script.py", "exec"), {"__name__": "script"})


def test_what_is_wrong_in_a_users_script_is_found(tmp_path):
    found = mypy(WRONG, tmp_path).splitlines()
    assert [line.split(":")[1] for line in found if "error:" in line] == ["3", "4", "5"]


def test_pyright_agrees_with_mypy(tmp_path):
    program = shutil.which("basedpyright") or shutil.which("pyright")
    if program is None:
        pytest.skip("pyright is not installed (pip install basedpyright)")
    wanted = {"script.py": set(), "wrong.py": {3, 4, 5}}
    for name, script in zip(wanted, (SCRIPT, WRONG), strict=True):
        (tmp_path / name).write_text(script, encoding="utf-8")
    strict = {"typeCheckingMode": "strict", "extraPaths": [str(ROOT)], "include": [*wanted]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(strict), encoding="utf-8")
    command = [program, "--outputjson", "--pythonpath", sys.executable]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    found = {name: set() for name in wanted}
    for message in json.loads(told.stdout)["generalDiagnostics"]:
        found[Path(message["file"]).name].add(message["range"]["start"]["line"] + 1)
    assert found == wanted, told.stdout
