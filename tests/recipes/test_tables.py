"""The tables of results: what becomes one row, what is bold, and what is refused."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "results" / "tables.py"
spec = importlib.util.spec_from_file_location("tables", SCRIPT)
tables = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tables)

BEGIN, END = tables.MARKS


@pytest.fixture
def write(tmp_path):
    """Writes the JSON file of a run that differs from an ordinary one in `changes`."""

    def write(name: str, options: str = "", **changes: object) -> None:
        run = {
            "recipe": "mlp",
            "dataset": "Fashion-MNIST",
            "seed": 0,
            "epochs": 30,
            "parameters": 109386,
            "best_epoch": 20,
            "train_accuracy": 0.97,
            "validation_accuracy": 0.9,
            "test_accuracy": 0.89,
            "seconds": 90.0,
            "per_class": {"Bag": {"recall": 0.5}, "Coat": {"recall": 0.25}},
            "threads": 1,
            "commit": "abc1234",
        } | changes
        run["command"] = f"python -m tinygrad_fm train {run['recipe']}{options}"
        (tmp_path / f"{name}.json").write_text(json.dumps(run))

    return write


@pytest.fixture
def build(tmp_path):
    """Builds the pages and returns what stands between the marks of each."""

    def build() -> tuple[str, str]:
        parts = []
        for page in ("README.md", "RESULTS.md"):
            (tmp_path / page).write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
        tables.build(tmp_path, tmp_path)
        for page in ("README.md", "RESULTS.md"):
            before, rest = (tmp_path / page).read_text().split(f"{BEGIN}\n")
            inside, after = rest.split(END)
            assert (before, after) == ("before\n", "\nafter\n")
            parts.append(inside)
        return parts[0], parts[1]

    return build


def table(markdown: str) -> list[dict[str, str]]:
    """The rows of the first Markdown table."""
    lines = markdown.split("\n\n")[0].splitlines()
    header, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_one_run_is_one_row(write, build):
    write("run")
    readme, results = build()
    assert table(results) == [
        {
            "recipe": "`mlp`",
            "data": "Fashion-MNIST",
            "parameters": "109,386",
            "epochs: best / run": "20 / 30",
            "minutes": "1.5",
            "threads": "1",
            "train": "97.00 %",
            "validation": "90.00 %",
            "test": "**89.00 %**",
            "source": "–",
            "must reach": "89 %",
            "seeds": "0",
            "commit": "abc1234",
            "command": "`python -m tinygrad_fm train mlp`",
        }
    ]
    (row,) = table(readme)
    assert row.items() <= (table(results)[0] | {"seeds": "1"}).items()


def test_seeds_are_one_row_of_means_and_sample_deviations(write, build):
    for seed, accuracy in ((10, 0.9), (2, 0.91), (0, 0.92)):  # 91 ± √((1 + 0 + 1) / 2)
        write(f"{seed}", f" --seed {seed}", seed=seed, test_accuracy=accuracy, seconds=60 * seed)
    readme, results = build()
    (row,) = table(results)
    assert row["test"] == "**91.00 ± 1.00 %**"
    assert row["validation"] == "90.00 ± 0.00 %"
    assert row["minutes"] == "4.0"
    assert row["seeds"] == "0, 2, 10"
    assert row["command"] == "`python -m tinygrad_fm train mlp`"
    assert table(readme)[0]["seeds"] == "3"


def test_where_and_how_fast_it_ran_makes_no_other_experiment(write, build):
    write("a", " --seed 1 --threads 1", seed=1)
    write("b", " --seed=2 --threads=2 --out 'a folder'", seed=2, threads=2, commit="def5678")
    write("c", " --data-dir /data --extractor model.safetensors --seed 3", seed=3)
    write("d", " --seed 4", seed=4, commit="abc1234, fed9876")  # resumed by other code
    (row,) = table(build()[1])
    assert row["threads"] == "1, 2"
    assert row["commit"] == "abc1234, def5678, fed9876"
    assert row["command"] == "`python -m tinygrad_fm train mlp`"


def test_a_commit_that_is_not_known_is_a_dash(write, build):
    write("run", commit=None)
    assert table(build()[1])[0]["commit"] == "–"


def test_other_settings_are_another_experiment(write, build):
    write("a", " --lr 0.1 --seed 0")
    write("b", " --seed 0")
    commands = [row["command"] for row in table(build()[1])]
    assert commands == [f"`python -m tinygrad_fm train mlp{lr}`" for lr in (" --lr 0.1", "")]


def test_the_same_run_twice_is_refused(write, build):
    write("first", " --seed 0 --threads 1")
    write("second", " --seed 0")
    with pytest.raises(ValueError, match=r"second\.json: there is another file of .* seed 0"):
        build()


@pytest.mark.parametrize(
    "change",
    [
        {"parameters": 109387},
        {"batch_size": 128},
        {"lr": 0.01},
        {"validation_fraction": 0.2},
        {"epochs": 20},
    ],
    ids=lambda change: next(iter(change)),
)
def test_seeds_of_a_recipe_that_has_changed_between_them_are_refused(change, write, build):
    write("first", " --seed 0")
    write("second", " --seed 1", seed=1, **change)
    (fact,) = change
    with pytest.raises(ValueError, match=rf"second\.json: another seed of .* has other {fact}:"):
        build()


@pytest.mark.parametrize(("recipe", "option"), [("mlp-deep", ""), ("mlp", " --patience 5")])
def test_seeds_that_early_stopping_ends_may_differ_in_epochs(recipe, option, write, build):
    write("first", f"{option} --seed 0", recipe=recipe, epochs=40)
    write("second", f"{option} --seed 1", recipe=recipe, seed=1, epochs=50)
    assert table(build()[1])[0]["epochs: best / run"] == "20 / 45"


@pytest.mark.parametrize(
    ("recipe", "accuracies", "bold"),
    [
        ("mlp", [0.89], True),
        ("mlp", [0.8899], False),
        ("mlp", [0.88, 0.9], True),
        ("mlp", [0.88, 0.899], False),
        ("cnn-5conv", [0.934], False),
        ("cnn-5conv", [0.9345, 0.9352, 0.9353], True),  # floats miss this mean
    ],
)
def test_bold_is_what_reaches_its_aim(recipe, accuracies, bold, write, build):
    for seed, accuracy in enumerate(accuracies):
        write(f"{seed}", f" --seed {seed}", recipe=recipe, seed=seed, test_accuracy=accuracy)
    for page in build():
        assert table(page)[0]["test"].startswith("**") is bold


def test_recipes_come_in_their_order_with_what_the_sources_report(write, build):
    write("a", recipe="resnet")
    write("b", recipe="cnn-3conv")
    rows = table(build()[0])
    assert [row["recipe"] for row in rows] == ["`cnn-3conv`", "`resnet`"]
    assert [row["source"] for row in rows] == ["91.37 %", "95.55 %"]


def test_classes_are_means_in_a_table_for_each_data_set(write, build):
    per_class = {"Bag": {"recall": 0.7}, "Coat": {"recall": 0.25}}
    write("a", " --seed 0")
    write("b", " --seed 1", seed=1, per_class=per_class)
    write("c", recipe="sigmoid-mlp", dataset="MNIST", per_class={"7": {"recall": 0.984}})
    _, _, *parts = build()[1].rstrip().split("\n\n")
    assert parts[0::2] == ["### MNIST", "### Fashion-MNIST"]
    assert table(parts[1]) == [{"recipe": "`sigmoid-mlp`", "7": "98.4"}]
    assert table(parts[3]) == [{"recipe": "`mlp`", "Bag": "60.0", "Coat": "25.0"}]


def test_the_committed_pages_are_built_from_the_committed_runs(tmp_path):
    root = SCRIPT.parents[1]
    for page in ("README.md", "RESULTS.md"):
        (tmp_path / page).write_bytes((root / page).read_bytes())
    tables.build(SCRIPT.parent, tmp_path)
    for page in ("README.md", "RESULTS.md"):
        assert (tmp_path / page).read_bytes() == (root / page).read_bytes()
