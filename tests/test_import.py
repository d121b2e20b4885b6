"""What `import tinygrad_fm` loads, and what is said when a package is missing that comes later."""

import subprocess
import sys

import pytest

# In a process of its own: an interpreter that finds none of the packages named in its arguments.
WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

MISSING = sys.argv[1].split()
sys.meta_path.insert(0, Missing())
import numpy as np
import tinygrad_fm as tg
from tinygrad_fm import nn
from tinygrad_fm.errors import MissingPackageError

images = np.zeros((4, 1, 28, 28), np.uint8)
four = tg.data.ArrayDataset(images, np.arange(4), tuple('abcd'), 'four')
"""
LATER = "matplotlib PIL pooch tqdm safetensors optuna onnx torch torchvision pandas"


def run(program, missing=LATER):
    command = [sys.executable, "-c", WITHOUT + program, missing]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_loads_nothing_that_is_needed_later():
    program = "print([name for name in sys.argv[2:] if name in sys.modules])"
    later = [*LATER.split(), "scipy.special", "threadpoolctl"]
    command = [sys.executable, "-c", f"import sys, tinygrad_fm; {program}", "", *later]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_every_room_but_the_twins_is_imported_and_trained_in_without_the_extras():
    assert (
        run("""
import tinygrad_fm.cli, tinygrad_fm.report.page, tinygrad_fm.runs, tinygrad_fm.tune
from tinygrad_fm.data import DataLoader, Garments
from tinygrad_fm.report import format_table

model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.GELU())
loader = DataLoader(four, 2,
                    transform=tg.data.ToFloat())
optimizer = tg.optim.Adam(model.parameters())
for images, labels in loader:
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(images), labels).backward()
    optimizer.step()
with tg.profile() as profile:
    model(images)
print("GELU" in profile.table(), format_table([{"a": 1}]).split())
""")
        == "True ['a', '-', '1']"
    )


@pytest.mark.parametrize(
    ("package", "extra", "use"),
    [
        ("PIL", "data", "tg.data.read_picture(sys.executable)"),
        ("pooch", "data", "tg.data.locate('mnist')"),
        ("matplotlib", "report", "plot_confusion(np.eye(2, dtype=int), ['a', 'b'])"),
        ("matplotlib", "report", "line_chart({'a': np.ones(2)}, 'a')"),
        ("matplotlib", "report", "picture('a.png')"),
        ("PIL", "report", "_picture(Outcome(four.images, np.eye(4), four.labels, 'abcd'), 0)"),
        ("safetensors", "train", "save_arrays({'a': np.ones(2)}, {})"),
        ("safetensors", "train", "load_arrays(b'', 'a file')"),
        (
            "tqdm",
            "train",
            "fit(nn.Identity(), None, SGD([nn.Parameter(np.ones(1))], 1), loader, epochs=1)",
        ),
    ],
)
def test_the_first_use_of_a_missing_package_names_the_extra(package, extra, use):
    message = run(
        f"""
import os
os.environ.pop("TINYGRAD_FM_DATA", None)
from tinygrad_fm.cli.runs import picture
from tinygrad_fm.optim import SGD
from tinygrad_fm.recipes.weights import load_arrays, save_arrays
from tinygrad_fm.report import plot_confusion
from tinygrad_fm.report.line_chart import line_chart
from tinygrad_fm.report.page import Outcome, _picture
from tinygrad_fm.train import fit

loader = tg.data.DataLoader(four, 2)
try:
    {use}
except MissingPackageError as error:
    print(error)
""",
        package,
    )
    assert message == (
        f"this needs the package {package}, which is not installed: "
        f"python -m pip install 'tinygrad-fm[{extra}]'"
    )
