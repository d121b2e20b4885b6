"""`cnn-3conv` with two changes: mirrored images, and a learning rate that falls from 1e-3 to 0.

With dropout this network learns its training set by heart only slowly; a rate of 1e-4 is still on
its way after 50 epochs. The last epochs' small rates are worth about as much as the mirror images.
"""

from tinygrad_fm.data import RandomHorizontalFlip
from tinygrad_fm.optim.lr_scheduler import CosineAnnealingLR
from tinygrad_fm.recipes import cnn_3conv

RECIPE = cnn_3conv.RECIPE.changed(
    name="cnn-3conv-plus",
    source="cnn-3conv, with mirrored images and a cosine schedule from 1e-3",
    lr=1e-3,
    schedule=lambda optimizer, epochs: CosineAnnealingLR(optimizer, epochs),
    augment=(RandomHorizontalFlip(),),
)
