# %% [markdown]
# # Fine-tuning: what was learnt on one task helps on another
#
# Early layers find edges and corners, which are the same in all pictures. They are taken over from
# a network that has seen many pictures of one task, for another task of which there are few. And
# the other way round.
#
# `--dataset mnist` (or `fashion-mnist`): from the digits of MNIST to the clothes of Fashion-MNIST,
# and back. `--dataset garments`: from the first five of its classes to the last five, and back.

# %%
from dataclasses import replace

import numpy as np
from options import load, parse

import tinygrad_fm as tg
from tinygrad_fm import data, nn, optim
from tinygrad_fm.nn import functional as F
from tinygrad_fm.report import format_table, plot_comparison
from tinygrad_fm.train import EarlyStopping, evaluate, fit

options = parse("finetune", dataset="garments", epochs=2, lr=1e-3)
FEW = 20  # pictures of each class that the second task has to learn from

# %% [markdown]
# ## Two tasks


# %%
def only(dataset, classes, name):
    """Some classes of a data set as a task of their own, numbered from 0."""
    part = dataset.subset(np.flatnonzero(np.isin(dataset.labels, classes)))
    names = tuple(dataset.classes[c] for c in classes)
    return replace(part, labels=part.labels - classes[0], classes=names, name=name)


def load_task(dataset):
    options.dataset = dataset
    return load(options)


if options.dataset == "garments":
    both = load_task("garments")
    tasks = [
        [only(dataset, range(5), "first half") for dataset in both],
        [only(dataset, range(5, 10), "second half") for dataset in both],
    ]
else:
    tasks = [load_task("mnist"), load_task("fashion-mnist")]

normalise = data.Compose([data.ToFloat(), data.Normalize(0.3, 0.3)])  # the same for both


def loaders(task, per_class=None):
    """Batches to learn from, to validate and to test; only so many pictures to learn from."""
    train_set, validation_set = data.train_validation_split(task[0], 0.1, options.seed)
    if per_class is not None:
        members = [np.flatnonzero(train_set.labels == c) for c in range(len(train_set.classes))]
        train_set = train_set.subset(np.concatenate([m[:per_class] for m in members]))
    train = data.DataLoader(train_set, options.batch_size, shuffle=True, transform=normalise)
    validation = data.DataLoader(validation_set, 500, transform=normalise)
    return train, validation, data.DataLoader(task[1], 500, transform=normalise)


# %% [markdown]
# ## A network in two parts


# %%
class Network(nn.Module):
    """`early` looks for shapes, `late` decides which class they make."""

    def __init__(self, classes):
        super().__init__()
        self.early = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),  # (N, 1, 28, 28) -> (N, 16, 28, 28)
            nn.ReLU(),
            nn.MaxPool2d(2),  # -> (N, 16, 14, 14)
            nn.Conv2d(16, 32, 3, padding=1),  # -> (N, 32, 14, 14)
            nn.ReLU(),
            nn.MaxPool2d(2),  # -> (N, 32, 7, 7)
        )
        self.late = nn.Sequential(
            nn.Flatten(), nn.Linear(32 * 7 * 7, 64), nn.ReLU(), nn.Linear(64, classes)
        )

    def forward(self, images):
        return self.late(self.early(images))


def learn(model, batches, epochs):
    """Train what is not frozen; returns the history, the best epoch, and its test accuracy."""
    train, validation, test = batches
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = optim.Adam(trained, options.lr)
    # It never stops, but keeps the weights of the epoch that validation likes best.
    best = EarlyStopping(patience=epochs, monitor="val_accuracy")
    loss = F.cross_entropy
    history = fit(model, loss, optimizer, train, validation, epochs=epochs, early_stopping=best)
    return history, best.best_epoch, evaluate(model, test, loss).accuracy


# %% [markdown]
# ## There and back
# For each direction: a network that has learnt the first task with all its pictures; then the
# second task with few, by a new network and by two that take over the early layers, either frozen
# (`requires_grad_(False)`: the backward pass ends before them, an epoch is faster) or trained on.

# %%
histories, metrics, rows = {}, {}, []
for first, second in (tasks, tasks[::-1]):
    tg.manual_seed(options.seed)
    taught = Network(len(first[0].classes))
    batches = loaders(first)
    *_, accuracy = learn(taught, batches, options.epochs)
    print(f"\n{first[0].name}, {len(batches[0].dataset):,} pictures: {accuracy:.1%}")
    for method in ("new", "frozen", "fine-tuned"):
        tg.manual_seed(options.seed)
        model = Network(len(second[0].classes))
        if method != "new":
            model.early.load_state_dict(taught.early.state_dict())
        if method == "frozen":
            model.early.requires_grad_(False)
        # Few pictures make short epochs, so there are more of them.
        history, best_epoch, accuracy = learn(model, loaders(second, FEW), 25 * options.epochs)
        name = f"{method}: {second[0].name}"
        histories[name] = history
        metrics[name] = {"test_accuracy": accuracy}
        rows.append(
            {
                "task": second[0].name,
                "early layers": method,
                "trained parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
                "best epoch": best_epoch,
                "test": accuracy,
                "seconds": history["seconds"].sum(),
            }
        )

# %% [markdown]
# ## The comparison

# %%
print(f"\n{FEW} pictures of each class\n")
print(format_table(rows, {"test": ".1%", "seconds": ".1f"}))
plot_comparison(histories, metrics, options.out / "comparison.png")
print(f"\nthe picture is in {options.out}/")
