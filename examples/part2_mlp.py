# %% [markdown]
# # Part 2: a fully connected network
#
# 784 - 128 - 64 - 10, with ReLU between the layers, on pictures of clothes. Layers, loss and
# optimizer now come from `tinygrad_fm`, under the names that they have in PyTorch. The training
# loop is written out: it is the same five lines for every network.

# %%
import time

import numpy as np
from options import load, parse

import tinygrad_fm as tg
from tinygrad_fm import data, nn, optim
from tinygrad_fm.nn import functional as F
from tinygrad_fm.report import format_classes, plot_confusion, plot_history, plot_predictions
from tinygrad_fm.train import (
    EpochRow,
    History,
    classification_report,
    confusion_matrix,
    evaluate,
    predict,
)

options = parse("part2_mlp", dataset="fashion-mnist", epochs=30, lr=0.03)
tg.manual_seed(options.seed)

# %% [markdown]
# ## The data
# A tenth of the training pictures is held out for validation. All pictures are normalised: the
# mean and the deviation of the training pixels become 0 and 1. A `DataLoader` hands them out in
# batches, the training pictures in a new random order each epoch.

# %%
train_set, test_set = load(options)
train_set, validation_set = data.train_validation_split(train_set, 0.1, options.seed)

pixels = train_set.images / np.float32(255)
normalise = data.Compose(
    [data.ToFloat(), data.Normalize(float(pixels.mean()), float(pixels.std()))]
)
train = data.DataLoader(train_set, options.batch_size, shuffle=True, transform=normalise)
validation = data.DataLoader(validation_set, 500, transform=normalise)
test = data.DataLoader(test_set, 500, transform=normalise)

images, labels = next(iter(train))
print(f"{train_set.name}: {len(train_set):,} pictures to learn from, {len(train)} batches")
print("images", images)
print("labels", labels.tolist()[:10], "…")

# %% [markdown]
# ## The model
# `LogSoftmax` turns ten scores into logarithms of probabilities that sum up to 1: unlike part 1's
# sigmoids, the classes compete. The loss is then only -ln p of the true class (`nll_loss`).

# %%
model = nn.Sequential(
    nn.Flatten(),  # (N, 1, 28, 28) -> (N, 784)
    nn.Linear(784, 128),
    nn.ReLU(),
    nn.Linear(128, 64),
    nn.ReLU(),
    nn.Linear(64, 10),
    nn.LogSoftmax(dim=1),
)
print(model)
with tg.no_grad():
    first_loss = F.nll_loss(model(images), labels)
print(f"loss before training: {first_loss:.3f}; of pure guessing: ln 10 = {np.log(10):.3f}")

# %% [markdown]
# ## Training
# Stochastic gradient descent with momentum: a weight keeps nine tenths of its last movement, so
# that steps in one direction add up and noise cancels out. A little weight decay pulls towards
# zero. Over the epochs the learning rate falls along a cosine, from `--lr` to 0.

# %%
optimizer = optim.SGD(model.parameters(), options.lr, momentum=0.9, weight_decay=1e-4)
schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs)


def train_epoch():
    """One pass over the training pictures; returns the mean loss and the accuracy on the way."""
    model.train()
    losses = correct = 0
    for images, labels in train:
        optimizer.zero_grad()  # forget the gradients of the last batch
        log_probabilities = model(images)  # forward: the graph is recorded
        loss = F.nll_loss(log_probabilities, labels)
        loss.backward()  # backward along the graph: every parameter gets its .grad
        optimizer.step()  # and moves against it
        losses += loss.item() * len(labels)
        correct += (log_probabilities.argmax(1) == labels).sum().item()
    return losses / len(train_set), correct / len(train_set)


history = History()
for epoch in range(1, options.epochs + 1):
    started, (lr,) = time.perf_counter(), schedule.get_last_lr()
    training = train_epoch()
    result = evaluate(model, validation, F.nll_loss)
    schedule.step()
    seconds = time.perf_counter() - started
    history.append(EpochRow(epoch, *training, result.loss, result.accuracy, lr, seconds))
    print(f"epoch {epoch}: loss {training[0]:.3f}, validation accuracy {result.accuracy:.1%}")

# %% [markdown]
# ## What was learnt
# The test set, once. Precision: how many of those called a shirt are shirts. Recall: how many of
# the shirts were called one. F1 lies between the two, nearer to the worse. Where the confusion
# matrix is red, classes are mistaken for one another.

# %%
predicted, probabilities, labels = predict(model, test, np.exp)
print(f"test accuracy on {test_set.name}: {(predicted == labels).mean():.2%}")
confusion = confusion_matrix(predicted, labels, 10)
print(format_classes(classification_report(confusion), test_set.classes))

plot_history(history, options.out / "curves.png")
plot_confusion(confusion, test_set.classes, options.out / "confusion.png")
plot_predictions(
    test_set.images, probabilities, labels, test_set.classes, options.out / "predictions.png"
)
print(f"pictures are in {options.out}/")
