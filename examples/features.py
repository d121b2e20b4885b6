# %% [markdown]
# # What a network sees
#
# Layer by layer, a network turns pixels into numbers that tell more and more about the class and
# less and less about everything else. Two ways to get at these numbers, and a picture of them.

# %%
from functools import partial

import numpy as np
from options import load, parse, train
from scipy.spatial.distance import cdist

import tinygrad_fm as tg
from tinygrad_fm.recipes import RECIPES
from tinygrad_fm.recipes.cnn_5conv import FiveConvolutions
from tinygrad_fm.recipes.run import loaders
from tinygrad_fm.report import format_table, plot_projection
from tinygrad_fm.train import predict

options = parse("features", dataset="garments", epochs=4, lr=None)

# %% [markdown]
# ## A trained network
# Five convolutions, narrower than those of the recipe, so that it does not take long. The model has
# two parts: `features` makes 64 numbers of a picture, `classifier` ten scores of those.

# %%
narrow = partial(FiveConvolutions, channels=(16, 32, 64), hidden=64)
recipe = RECIPES["cnn-5conv"].changed(build=narrow, dataset=options.dataset)
(run,) = train({"cnn-5conv, narrow": recipe}, options).values()
model = run.model
print(model)
print(f"test accuracy on {run.test_set.name}: {run.test_accuracy:.1%}")

# %% [markdown]
# ## The first way: call the part
# `model.features(x)` is an ordinary call. `predict` makes it for every picture, in evaluation mode
# and without a graph.

# %%
_, _, test = loaders(recipe, *load(options), options.seed)
images, _ = next(iter(test))
with tg.no_grad():
    print("model.features(images):", model.features(images))
_, features, labels = predict(model.features, test)

# %% [markdown]
# ## The second way: a hook
# Any layer can be listened to, whether it has a name in the model or not: a forward hook is called
# with its inputs and its output. This one listens to the second pooling, behind three convolutions.

# %%
heard = []
layer = model.features[10]
handle = layer.register_forward_hook(lambda layer, inputs, output: heard.append(output.numpy()))
predict(model, test)
handle.remove()
maps = np.concatenate(heard)
print(f"heard from {layer}: {maps.shape}")

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


stages = {"Pixels": run.test_set.images, "Second pooling": maps, "model.features": features}
vectors = {name: array.reshape(len(array), -1) for name, array in stages.items()}
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
