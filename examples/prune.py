# %% [markdown]
# # Pruning: how many weights does a network need?
#
# The weights of smallest magnitude are set to zero and held there, more and more of them. Once
# without any further training, and once with an epoch or two after each step, in which the weights
# that are left take over the work of those that are gone.

# %%
from copy import deepcopy

from options import load, parse, train

from tinygrad_fm import nn, optim
from tinygrad_fm.nn import prune
from tinygrad_fm.recipes import RECIPES
from tinygrad_fm.recipes.run import loaders
from tinygrad_fm.report import format_table, plot_sparsity
from tinygrad_fm.train import evaluate, fit

options = parse("prune", dataset="garments", epochs=10, lr=0.03)
SPARSITY = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99)
FINE_TUNING = max(options.epochs // 5, 1)  # epochs after each step

# %% [markdown]
# ## A trained network

# %%
recipe = RECIPES["mlp"].changed(dataset=options.dataset, batch_size=options.batch_size)
(run,) = train({"mlp": recipe}, options).values()
training, validation, test = loaders(recipe, *load(options), options.seed)


def accuracy(model, batches=validation):
    return evaluate(model, batches, recipe.loss).accuracy


def weights(model):
    """The weights of all layers, as pairs of layer and name; biases are few and stay."""
    return [(layer, "weight") for layer in model.modules() if isinstance(layer, nn.Linear)]


def zeros(model):
    """The share of weights that are zero."""
    arrays = [layer.weight.data for layer, _ in weights(model)]
    return sum((array == 0).sum() for array in arrays) / sum(array.size for array in arrays)


# %% [markdown]
# ## Step by step
# `global_unstructured` compares the weights of all layers with one another and takes a share of
# those that are left. A mask holds them at zero while the others are trained on.

# %%
model, untrained = deepcopy(run.model), deepcopy(run.model)
rows = [{"zeros": 0.0, "only pruned": accuracy(model), "fine-tuned": accuracy(model)}]
networks = [run.model]
for sparsity in SPARSITY:
    share = 1 - (1 - sparsity) / (1 - zeros(model))  # of the weights that are left
    prune.global_unstructured(weights(untrained), share)
    prune.global_unstructured(weights(model), share)
    optimizer = optim.SGD(model.parameters(), options.lr / 3, momentum=0.9)
    fit(model, recipe.loss, optimizer, training, epochs=FINE_TUNING)
    networks.append(deepcopy(model))
    rows.append(
        {"zeros": zeros(model), "only pruned": accuracy(untrained), "fine-tuned": accuracy(model)}
    )
    print(f"{zeros(model):.0%} zeros: {accuracy(model):.1%}")

# %% [markdown]
# ## Accuracy against sparsity

# %%
percent = dict.fromkeys(("zeros", "only pruned", "fine-tuned"), ".1%")
print(f"\nvalidation accuracy on {run.test_set.name}\n\n{format_table(rows, percent)}")
lines = {name: [row[name] for row in rows] for name in ("fine-tuned", "only pruned")}
plot_sparsity([row["zeros"] for row in rows], lines, options.out / "sparsity.png")

# %% [markdown]
# ## The smallest that is good enough
# The last network that loses less than a point on the validation set. `remove` turns its masks into
# plain zeros, and the layers are as fast as ever again.

# %%
good = [i for i, row in enumerate(rows) if row["fine-tuned"] > rows[0]["fine-tuned"] - 0.01]
small = networks[good[-1]]
if prune.is_pruned(small):
    for layer, name in weights(small):
        prune.remove(layer, name)
print(
    f"\n{zeros(small):.0%} of the weights are zero, test accuracy {accuracy(small, test):.2%}"
    f" ({run.test_accuracy:.2%} with all weights)"
)
print(f"the picture is in {options.out}/")
