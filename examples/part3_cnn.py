# %% [markdown]
# # Part 3: convolutional networks
#
# A fully connected layer does not know that pixels have neighbours. A convolution looks at 3×3
# pixels at a time and asks the same question everywhere. Two architectures, compared.

# %%
import numpy as np
from options import load, parse
from scipy.special import softmax

import tinygrad_fm as tg
from tinygrad_fm import data, nn, optim
from tinygrad_fm.nn import functional as F
from tinygrad_fm.optim.lr_scheduler import CosineAnnealingLR
from tinygrad_fm.report import format_table, plot_confusion, plot_history, plot_predictions
from tinygrad_fm.train import accuracy, confusion_matrix, fit, predict

options = parse("part3_cnn", dataset="fashion-mnist", epochs=20, lr=None)

# %% [markdown]
# ## The data
# As in part 2: a validation set is held out, pixels are normalised, the test set waits.

# %%
train_set, test_set = load(options)
train_set, validation_set = data.train_validation_split(train_set, 0.1, options.seed)

pixels = train_set.images / np.float32(255)
normalise = data.Compose(
    [data.ToFloat(), data.Normalize(float(pixels.mean()), float(pixels.std()))]
)
validation = data.DataLoader(validation_set, 500, transform=normalise)
test = data.DataLoader(test_set, 500, transform=normalise)

# %% [markdown]
# ## The first architecture
# Convolution, ReLU, and max pooling, which keeps the largest of each 2×2 pixels: what was found
# matters more than exactly where. Twice; then a hidden layer decides.


# %%
def two_convolutions():
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),  # (N, 1, 28, 28) -> (N, 32, 28, 28)
        nn.ReLU(),
        nn.MaxPool2d(2),  # -> (N, 32, 14, 14)
        nn.Conv2d(32, 64, 3, padding=1),  # -> (N, 64, 14, 14)
        nn.ReLU(),
        nn.MaxPool2d(2),  # -> (N, 64, 7, 7)
        nn.Flatten(),  # -> (N, 3136)
        nn.Linear(3136, 128),
        nn.ReLU(),
        nn.Linear(128, 10),  # scores; their softmax is inside the loss, cross_entropy
    )


# %% [markdown]
# ## The second architecture
# Three blocks instead of two, and two additions in each. Batch normalisation gives every channel
# mean 0 and deviation 1 over the batch, then a scale and shift that are learnt: training is faster
# and less sensitive. Dropout zeroes a quarter of the values at random while training, so that
# nothing can rely on a single one: the network overfits later.


# %%
def block(inputs, outputs):
    return [
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
    ]


def three_convolutions():
    return nn.Sequential(
        *block(1, 32),  # (N, 1, 28, 28) -> (N, 32, 14, 14)
        *block(32, 64),  # -> (N, 64, 7, 7)
        *block(64, 128),  # -> (N, 128, 3, 3)
        nn.Flatten(),  # -> (N, 1152)
        nn.Linear(1152, 128),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(128, 10),
    )


# %% [markdown]
# ## Training
# `fit` is the loop of part 2. The first network learns by SGD with momentum; the second by Adam,
# which scales the step of each weight by the size of its recent gradients.


# %%
def train(build, make_optimizer):
    """Train one network; returns it with its history."""
    tg.manual_seed(options.seed)
    model = build()
    print(f"\n{model}")
    loader = data.DataLoader(train_set, options.batch_size, shuffle=True, transform=normalise)
    optimizer = make_optimizer(model.parameters())
    plan = {"epochs": options.epochs, "scheduler": CosineAnnealingLR(optimizer, options.epochs)}
    history = fit(model, F.cross_entropy, optimizer, loader, validation, **plan)
    return model, history


def sgd(parameters):
    return optim.SGD(parameters, options.lr or 0.02, momentum=0.9, weight_decay=5e-4)


def adam(parameters):
    return optim.Adam(parameters, options.lr or 1e-3)


trained = {"cnn": train(two_convolutions, sgd), "cnn-bn": train(three_convolutions, adam)}

# %% [markdown]
# ## The comparison

# %%
rows = []
for name, (model, history) in trained.items():
    predicted, probabilities, labels = predict(model, test, lambda scores: softmax(scores, axis=1))
    rows.append(
        {
            "network": name,
            "parameters": sum(p.numel() for p in model.parameters()),
            "train": history["train_accuracy"][-1],
            "validation": history["val_accuracy"][-1],
            "test": accuracy(predicted, labels),
            "seconds": history["seconds"].sum(),
        }
    )
    picture = f"{options.out}/{name}"
    confusion, classes = confusion_matrix(predicted, labels, 10), test_set.classes
    plot_confusion(confusion, classes, f"{picture}-confusion.png")
    plot_predictions(test_set.images, probabilities, labels, classes, f"{picture}-predictions.png")
plot_history({name: history for name, (_, history) in trained.items()}, options.out / "curves.png")

print(f"\n{test_set.name}, {options.epochs} epochs; dropout makes training accuracy look lower\n")
percent = dict.fromkeys(("train", "validation", "test"), ".1%")
print(format_table(rows, {**percent, "seconds": ".0f"}))
print(f"\npictures are in {options.out}/")
