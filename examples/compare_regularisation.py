# %% [markdown]
# # Regularisation, compared
#
# A network with more weights than it has pictures to learn from can learn them by heart: its
# training accuracy goes to 100 % while that on unseen pictures stands still. Four remedies, each
# alone and all together, on the same network with the same seed.

# %%
from functools import partial

from options import parse, train

from tinygrad_fm import data, nn, optim
from tinygrad_fm.nn import functional as F
from tinygrad_fm.recipes import RECIPES
from tinygrad_fm.report import format_comparison, plot_comparison

options = parse("compare_regularisation", dataset="garments", epochs=20, lr=0.03)

# %% [markdown]
# ## The remedies
# - **Weight decay** pulls every weight towards 0: those that the loss does not need vanish.
# - **Dropout** zeroes three tenths of the hidden values at random: nothing can rely on one alone.
# - **Label smoothing** asks for 91 % of the true class and 1 % of each other one instead of 100 %
#   and 0: no reward for being ever more sure.
# - **Augmentation** shifts and mirrors the pictures at random: no picture comes twice.


# %%
def sgd(parameters, lr, weight_decay=0.0):
    return optim.SGD(parameters, lr, momentum=0.9, weight_decay=weight_decay)


def network(dropout=0.0):
    return nn.Sequential(
        nn.Flatten(),  # (N, 1, 28, 28) -> (N, 784)
        nn.Linear(784, 256),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(256, 10),
    )


decay = {"optimizer": partial(sgd, weight_decay=1e-3)}
dropout = {"build": partial(network, dropout=0.3)}
smoothing = {"loss": partial(F.cross_entropy, label_smoothing=0.1)}
augmentation = {"augment": (data.RandomCrop(28, padding=2), data.RandomHorizontalFlip())}

nothing = RECIPES["mlp-1hidden"].changed(build=network, optimizer=sgd)
recipes = {
    "none": nothing,
    "weight decay": nothing.changed(**decay),
    "dropout": nothing.changed(**dropout),
    "label smoothing": nothing.changed(**smoothing),
    "augmentation": nothing.changed(**augmentation),
    "all four": nothing.changed(**decay, **dropout, **smoothing, **augmentation),
}

# %% [markdown]
# ## The comparison
# Training accuracy is measured on the way, with dropout and augmentation: compare it with care.
# More is not always better: together the remedies may be too much for a small network and few
# epochs.

# %%
runs = train(recipes, options)
metrics = {name: run.metrics() for name, run in runs.items()}
print(f"\n{options.dataset}, {options.epochs} epochs\n")
print(format_comparison(metrics))

histories = {name: run.history for name, run in runs.items()}
plot_comparison(histories, metrics, options.out / "comparison.png")
print(f"\nthe picture is in {options.out}/")
