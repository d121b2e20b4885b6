# %% [markdown]
# # Part 1: a neural network by hand
#
# A network of sigmoids, 784 - 128 - 10, that reads handwritten digits. Everything that it does,
# and everything that it needs to learn, is written out in NumPy. Then the same network is built
# with `tinygrad_fm`, and we see that automatic differentiation finds the same gradients.

# %%
import time

import numpy as np
from options import load, parse
from scipy.special import expit as sigmoid  # 1/(1 + e⁻ᶻ), also where e⁻ᶻ would overflow

import tinygrad_fm as tg
from tinygrad_fm import data, nn
from tinygrad_fm.nn import functional as F
from tinygrad_fm.report import plot_confusion, plot_history
from tinygrad_fm.train import EpochRow, History, confusion_matrix

options = parse("part1_numpy_by_hand", dataset="mnist", epochs=20, lr=0.5)
generator = np.random.default_rng(options.seed)

# %% [markdown]
# ## The data
# A tenth of the training pictures is held out: on them we watch the training. The test set is used
# once, at the end.

# %%
train_set, test_set = load(options)
train_set, validation_set = data.train_validation_split(train_set, 0.1, options.seed)


def as_arrays(dataset):
    """Pictures X (N, 784), and answers T (N, 10): 1 for the class of the picture, else 0."""
    X = dataset.images.reshape(len(dataset), 784).astype(np.float32) / 255
    return X, np.eye(10, dtype=np.float32)[dataset.labels]


X_train, T_train = as_arrays(train_set)
print(f"{train_set.name}: {len(X_train):,} pictures to learn from")

# %% [markdown]
# ## Forward
# Each layer multiplies by a matrix, adds a bias, and squeezes the sum into (0, 1).
# With N pictures at once, and weights stored (outputs, inputs) as PyTorch does:


# %%
def initial_weights(inputs, outputs):
    bound = 1 / np.sqrt(inputs)
    return generator.uniform(-bound, bound, (outputs, inputs)), np.zeros(outputs)


def forward(X, weights):
    W1, b1, W2, b2 = weights
    A = sigmoid(X @ W1.T + b1)  # (N, 784) @ (784, 128) -> (N, 128)
    Z = A @ W2.T + b2  # (N, 128) @ (128, 10) -> (N, 10)
    return A, Z, sigmoid(Z)


weights = [*initial_weights(784, 128), *initial_weights(128, 10)]

# %% [markdown]
# ## The loss: a negative log likelihood
# Each of the ten outputs p answers one question: does the picture show my class? A yes has the
# likelihood p, a no 1 - p (Bernoulli). The ten answers together have the product of the ten
# likelihoods, and the negative logarithm of a product is a sum:
#
#     L = -Σ over classes [t·ln p + (1 - t)·ln(1 - p)]
#
# which is the binary cross entropy, summed over the classes. Why not -ln p of the true class
# alone? Sigmoids don't compete as softmax does: a network that answers yes to everything would be
# perfect by that measure, though it has learnt nothing.
#
# With p = σ(z), -ln p = ln(1 + e⁻ᶻ) and -ln(1 - p) = ln(1 + eᶻ); so L = Σ ln(1 + eᶻ) - t·z.


# %%
def loss(Z, T):
    return (np.logaddexp(0, Z) - T * Z).sum() / len(Z)


T = T_train[:1]
for name, p in (("all yes", np.full((1, 10), 0.999)), ("right", 0.001 + 0.998 * T)):
    Z = np.log(p / (1 - p))  # the z for which σ(z) = p
    print(f"{name:7}: -ln p(true class) is {-np.log(p[T == 1]).sum():.3f}, L is {loss(Z, T):.3f}")

# %% [markdown]
# ## Backward
# The chain rule, from the loss back to each weight. The sigmoid's derivative is σ(z)(1 - σ(z)),
# and at the output it meets the derivative of the logarithm: what is left is simply P - T.


# %%
def backward(X, A, P, T, weights):
    W2 = weights[2]
    dZ = (P - T) / len(X)  # ∂L/∂Z, (N, 10)
    dA = dZ @ W2  # (N, 10) @ (10, 128) -> (N, 128)
    dH = dA * A * (1 - A)  # through the hidden sigmoid, (N, 128)
    return [dH.T @ X, dH.sum(axis=0), dZ.T @ A, dZ.sum(axis=0)]  # ∂L/∂ W1, b1, W2, b2


# %% [markdown]
# ## The same by autograd
# The layers once more, without a word about derivatives.

# %%
X, T = X_train[:64].astype(np.float64), T_train[:64].astype(np.float64)
A, Z, P = forward(X, weights)
by_hand = backward(X, A, P, T, weights)

model = nn.Sequential(nn.Linear(784, 128), nn.Sigmoid(), nn.Linear(128, 10), nn.Sigmoid()).double()
names = ["0.weight", "0.bias", "2.weight", "2.bias"]
model.load_state_dict(dict(zip(names, weights, strict=True)))
total = F.binary_cross_entropy(model(tg.Tensor(X)), tg.Tensor(T), reduction="sum") / len(X)
total.backward()

print(f"loss by hand {loss(Z, T):.12f}, by autograd {total.item():.12f}")
for name, mine, parameter in zip(names, by_hand, model.parameters(), strict=True):
    difference = np.abs(mine - parameter.grad.numpy()).max() / np.abs(mine).max()
    print(f"gradient of {name:8}  shape {mine.shape!s:10}  relative difference {difference:.1e}")
    assert difference < 1e-6

# %% [markdown]
# ## Learning: stochastic gradient descent
# Take 64 pictures, and move each weight a little against its gradient. Again, and again.


# %%
def evaluate(dataset, weights):
    X, T = as_arrays(dataset)
    _, Z, P = forward(X, weights)
    answers = P.argmax(axis=1)
    return loss(Z, T), (answers == dataset.labels).mean(), answers


weights = [w.astype(np.float32) for w in weights]
history = History()
for epoch in range(1, options.epochs + 1):
    started, losses, correct = time.perf_counter(), 0.0, 0
    order = generator.permutation(len(X_train))
    for start in range(0, len(order), options.batch_size):
        chosen = order[start : start + options.batch_size]
        X, T = X_train[chosen], T_train[chosen]
        A, Z, P = forward(X, weights)
        for w, gradient in zip(weights, backward(X, A, P, T, weights), strict=True):
            w -= options.lr * gradient
        losses += loss(Z, T) * len(X)
        correct += (P.argmax(axis=1) == T.argmax(axis=1)).sum()
    val_loss, val_accuracy, _ = evaluate(validation_set, weights)
    training = losses / len(order), correct / len(order)
    seconds = time.perf_counter() - started
    history.append(EpochRow(epoch, *training, val_loss, val_accuracy, options.lr, seconds))
    print(f"epoch {epoch}: loss {training[0]:.3f}, validation accuracy {val_accuracy:.1%}")

# %% [markdown]
# ## The test

# %%
_, accuracy, answers = evaluate(test_set, weights)
print(f"test accuracy on {test_set.name}: {accuracy:.2%}")
plot_history(history, options.out / "curves.png")
confusion = confusion_matrix(answers, test_set.labels, 10)
plot_confusion(confusion, test_set.classes, options.out / "confusion.png")
print(f"pictures are in {options.out}/")
