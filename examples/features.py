# %% [markdown]
# # What a network sees
#
# Layer by layer, a network turns pixels into numbers that tell more and more about the class and
# less and less about everything else. Two ways to get at these numbers, and a picture of them.
#
# `--recipe mlp` (or any other that sees images): the same of another network.

# %%
from functools import partial

import numpy as np
from options import load, parse, train
from scipy.spatial.distance import cdist

import tinygrad_fm as tg
from tinygrad_fm import nn
from tinygrad_fm.recipes import RECIPES
from tinygrad_fm.recipes.run import loaders
from tinygrad_fm.report import format_table, plot_projection
from tinygrad_fm.train import predict

options = parse("features", dataset="garments", epochs=4, lr=None, recipe="cnn-5conv")

# %% [markdown]
# ## A trained network
# Unless you choose another one, five convolutions, narrower than those of the recipe, so that it
# does not take long. That model has two parts: `features` makes 64 numbers of a picture,
# `classifier` ten scores of those.

# %%
recipe = RECIPES[options.recipe].changed(dataset=options.dataset)
if options.recipe == "cnn-5conv":
    recipe = recipe.changed(build=partial(recipe.build, channels=(16, 32, 64), hidden=64))
(run,) = train({options.recipe: recipe}, options).values()
model = run.model
print(model)
print(f"test accuracy on {run.test_set.name}: {run.test_accuracy:.1%}")
_, _, test = loaders(recipe, *load(options), options.seed)

# %% [markdown]
# ## The first way: call the part
# `model.features(x)` is an ordinary call, where a model has such a part. `predict` makes it for
# every picture, in evaluation mode and without a graph.

# %%
if hasattr(model, "features"):
    images, _ = next(iter(test))
    with tg.no_grad():
        print("model.features(images):", model.features(images))
    _, called, _ = predict(model.features, test)

# %% [markdown]
# ## The second way: hooks
# Any layer can be listened to, whether it has a name in the model or not: a forward hook is called
# with its inputs and its output. These listen to what the linear layers are given. The last one
# turns it into ten scores, so that is what the network knows of a picture: its features.

# %%
linear = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
heard = {layer: [] for layer in linear if layer.in_features != 28 * 28}  # others see pixels
handles = [
    layer.register_forward_hook(lambda layer, inputs, _: heard[layer].append(inputs[0].numpy()))
    for layer in heard
]
_, _, labels = predict(model, test)
for handle in handles:
    handle.remove()
stages = {f"To linear {linear.index(layer) + 1}": np.concatenate(heard[layer]) for layer in heard}
_, features = stages.popitem()
print(f"features, heard by a hook: {features.shape}")
if hasattr(model, "features"):
    print(f"the same as model.features: {np.allclose(called, features, rtol=1e-4, atol=1e-5)}")

# %% [markdown]
# ## What they are worth
# The plainest of all classifiers: take the class whose mean is nearest. Means of the first half of
# the test pictures, accuracy on the second. The better the numbers, the further it gets.


# %%
def nearest_mean(vectors):
    half = len(vectors) // 2
    classes = range(len(run.test_set.classes))
    means = [vectors[:half][labels[:half] == c].mean(axis=0) for c in classes]
    return (cdist(vectors[half:], means).argmin(axis=1) == labels[half:]).mean()


pixels = run.test_set.images.reshape(len(labels), -1)
vectors = {"Pixels": pixels, **stages, "Features": features}
rows = [
    {"stage": name, "numbers": array.shape[1], "nearest mean": nearest_mean(array)}
    for name, array in vectors.items()
]
print(format_table(rows, {"nearest mean": ".1%"}))

# %% [markdown]
# ## As a picture
# The plane of the two directions in which the pictures differ most (principal components, found by
# a singular value decomposition). What are clouds at the end is one cloud at the beginning.

# %%
shown = {name: array[:2000] for name, array in vectors.items()}
picture = options.out / "projection.png"
plot_projection(shown, labels[:2000], run.test_set.classes, picture)
print(f"the picture is in {options.out}/")
