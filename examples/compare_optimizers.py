# %% [markdown]
# # Optimizers, compared
#
# The same network, the same first weights, the same order of pictures: only the rule differs that
# turns gradients into steps.

# %%
from functools import partial

from options import parse, train

from tinygrad_fm import optim
from tinygrad_fm.recipes import RECIPES
from tinygrad_fm.report import format_comparison, plot_comparison

options = parse("compare_optimizers", dataset="garments", epochs=15, lr=None)

# %% [markdown]
# ## The rules
# - **SGD**: a step against the gradient. **Momentum** keeps nine tenths of the last step, so that
#   steps in one direction add up; **Nesterov** looks ahead to where momentum leads.
# - **Adagrad** divides each weight's step by the size of all its gradients so far, **RMSprop** by
#   that of the recent ones. **Adadelta** sets even the length of the step by itself.
# - **Adam** is RMSprop with momentum. **AdamW** adds weight decay that is not divided by anything.
#
# Each has a learning rate of its own, which falls along a cosine over the epochs; `--lr` gives one
# rate to all.

# %%
sgd = optim.SGD
rules = {
    "SGD": (sgd, 0.2),
    "momentum": (partial(sgd, momentum=0.9), 0.02),
    "Nesterov": (partial(sgd, momentum=0.9, nesterov=True), 0.02),
    "Adagrad": (optim.Adagrad, 0.02),
    "RMSprop": (optim.RMSprop, 1e-3),
    "Adadelta": (optim.Adadelta, 1.0),
    "Adam": (optim.Adam, 1e-3),
    "AdamW": (partial(optim.AdamW, weight_decay=0.1), 1e-3),
}
recipes = {
    name: RECIPES["mlp"].changed(optimizer=rule, lr=lr) for name, (rule, lr) in rules.items()
}

# %% [markdown]
# ## The comparison

# %%
runs = train(recipes, options)
metrics = {name: run.metrics() for name, run in runs.items()}
print(f"\n{options.dataset}, {options.epochs} epochs\n")
print(format_comparison(metrics))

histories = {name: run.history for name, run in runs.items()}
plot_comparison(histories, metrics, options.out / "comparison.png")
print(f"\nthe picture is in {options.out}/")
