# %% [markdown]
# # A tour of autograd
#
# Computing with tensors leaves a trace: a graph of the operations. `backward` walks it from the
# result to the inputs and multiplies derivatives on the way. That is all; here it is, piece by
# piece.

# %%
import numpy as np
from options import load, parse

import tinygrad_fm as tg
from tinygrad_fm import data, nn, optim
from tinygrad_fm.autograd import graph
from tinygrad_fm.nn import functional as F
from tinygrad_fm.ops import Function
from tinygrad_fm.report import plot_history
from tinygrad_fm.train import fit

options = parse("autograd_tour", dataset="fashion-mnist", epochs=3, lr=0.05)
tg.manual_seed(options.seed)

# %% [markdown]
# ## The graph
# Two numbers, and a function of them. Each result knows the operation that made it, and that
# operation knows where its inputs came from.

# %%
a = tg.tensor(2.0, requires_grad=True)
b = tg.tensor(3.0, requires_grad=True)
y = a * b + a.exp()
print("y           ", y)
print("made by     ", y.grad_fn.name(), "from", [edge.name() for edge in y.grad_fn.edges])
dot = graph.to_dot(y, {"a": a, "b": b})  # before backward, which takes the graph apart

y.backward()
print(f"∂y/∂a        {a.grad:.4f} = b + eᵃ = {3 + np.exp(2):.4f}")
print(f"∂y/∂b        {b.grad:.4f} = a")

# %% [markdown]
# ## Drawing it
# In Graphviz's DOT language; where Graphviz is installed, as a picture. Blue are the tensors that
# get a gradient, and along each arrow stands the shape of what flows there.


# %%
def draw(output, name, names):
    try:
        return graph.draw(output, options.out / f"{name}.svg", names)
    except RuntimeError as error:
        print(error)
        return graph.draw(output, options.out / f"{name}.dot", names)


print(dot)
train_set, _ = load(options)
loader = data.DataLoader(train_set, options.batch_size, shuffle=True)
images, labels = next(iter(loader))
model = nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 10))
loss = F.cross_entropy(model(images), labels)
print("drawn to", draw(loss, "network", dict(model.named_parameters())))

# %% [markdown]
# ## Gradients add up
# `backward` adds to `.grad`. So a batch may be worked through in pieces; and so a training loop
# has to call `zero_grad`.

# %%
loss.backward()
whole = model[1].weight.grad.numpy().copy()
model.zero_grad()
for part, answers in zip(images.chunk(4), labels.chunk(4), strict=True):
    (F.cross_entropy(model(part), answers, reduction="sum") / len(images)).backward()
difference = np.abs(whole - model[1].weight.grad.numpy()).max()
print(f"gradient of the batch minus the sum of four quarters: {difference:.1e}")

try:
    loss.backward()
except RuntimeError as error:
    print("a second backward:", error)

# %% [markdown]
# ## Without a graph
# Recording costs memory: every operation keeps what its derivative needs. Inside `no_grad` nothing
# is kept.

# %%
with tg.no_grad():
    print("inside no_grad, requires_grad is", model(images).requires_grad)

# %% [markdown]
# ## What must not be changed
# exp keeps its result, because it is its own derivative. Writing into it would silently make the
# gradient wrong; so the memory is read-only until `backward` is done with it.

# %%
x = tg.zeros(3, requires_grad=True)
y = x.exp()
try:
    y.data[0] = 100
except ValueError as error:
    print("y.data[0] = 100:", error)
try:
    x += 1
except RuntimeError as error:
    print("x += 1:", error)

# %% [markdown]
# ## Hunting a NaN
# Far behind the place where it was made, a NaN shows up in the loss. `detect_anomaly` stops at the
# operation that made it, and tells the line.

# %%
x = tg.tensor([4.0, 0.0, 1.0], requires_grad=True)
try:
    with tg.detect_anomaly():
        (x.sqrt() * 0).sum().backward()
except tg.AnomalyError as error:
    print(error)

# %% [markdown]
# ## An operation of your own
# The softsign, x/(1 + |x|): a class with a forward and a backward pass on plain arrays. Its
# derivative is 1/(1 + |x|)². `gradcheck` compares it with differences of function values.


# %%
class Softsign(Function):
    def forward(self, x):
        scale = 1 / (1 + np.abs(x))
        self.save_for_backward(scale)
        return x * scale

    def backward(self, grad):
        (scale,) = self.saved
        return grad * scale * scale


class SoftsignLayer(nn.Module):
    def forward(self, x):
        return tg.apply(Softsign, x)


points = tg.randn(4, 5, dtype=tg.float64, requires_grad=True)
print(tg.gradcheck(lambda x: tg.apply(Softsign, x), [points]))

# %% [markdown]
# It trains like any other.

# %%
model = nn.Sequential(nn.Flatten(), nn.Linear(784, 64), SoftsignLayer(), nn.Linear(64, 10))
optimizer = optim.SGD(model.parameters(), options.lr, momentum=0.9)
train_set, validation_set = data.train_validation_split(train_set, 0.1, options.seed)
train = data.DataLoader(train_set, options.batch_size, shuffle=True)
validation = data.DataLoader(validation_set, 500)
history = fit(model, F.cross_entropy, optimizer, train, validation, epochs=options.epochs)
accuracy = history["val_accuracy"][-1]
print(f"softsign network on {train_set.name}: validation accuracy {accuracy:.1%}")
plot_history(history, options.out / "curves.png")
print(f"pictures are in {options.out}/")
