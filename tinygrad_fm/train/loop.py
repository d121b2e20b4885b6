"""The training loop: forward, loss, backward, step; then validation, once an epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from tqdm import tqdm

from tinygrad_fm.data.loader import DataLoader
from tinygrad_fm.nn import Module
from tinygrad_fm.nn.utils import clip_grad_norm_
from tinygrad_fm.optim import Optimizer
from tinygrad_fm.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from tinygrad_fm.train.early_stopping import EarlyStopping
from tinygrad_fm.train.evaluation import Evaluation, LossFunction, RunningMean, evaluate
from tinygrad_fm.train.history import EpochRow, History

NOT_MEASURED = Evaluation(loss=math.nan, accuracy=math.nan)
# Short enough for 80 columns: "epoch 3/20 |███| 00:04<00:00, loss 0.412, acc 85.1%, ..."
BAR_FORMAT = "{desc} |{bar}| {elapsed}<{remaining}{postfix}"


class NonFiniteLossError(FloatingPointError):
    """The training loss became NaN or infinite."""


def fit(
    model: Module,
    loss_fn: LossFunction,
    optimizer: Optimizer,
    train_loader: DataLoader,
    validation_loader: DataLoader | None = None,
    *,
    epochs: int,
    scheduler: LRScheduler | ReduceLROnPlateau | None = None,
    step_scheduler: LRScheduler | None = None,
    early_stopping: EarlyStopping | None = None,
    clip_grad_norm: float | None = None,
    progress: bool = True,
    on_epoch_end: Callable[[History], None] | None = None,
) -> History:
    """Train a classifier and return what happened, epoch by epoch.

    Args:
        model: images (N, ...) -> scores (N, K).
        loss_fn: (scores, labels) -> the mean loss of the batch, a scalar.
        optimizer: holds the model's parameters.
        train_loader: yields (images, labels); one pass over it is an epoch.
        validation_loader: measured after every epoch; without it those columns are NaN.
        epochs: the number of epochs, at most.
        scheduler: stepped after every epoch; ReduceLROnPlateau is given the validation loss.
        step_scheduler: stepped after every batch, as OneCycleLR wants it.
        early_stopping: may end the training; at the end the best epoch's weights are restored.
        clip_grad_norm: the gradients' total 2-norm is scaled down to this when above it.
        progress: show a bar on stderr, where that is a terminal.
        on_epoch_end: called with the history when an epoch is complete.

    Raises:
        NonFiniteLossError: the training loss became NaN or infinite.
        ValueError: validation is needed (early stopping, ReduceLROnPlateau) but there is none.
        RuntimeError: early stopping never saw a finite validation figure.
    """
    follows_validation = early_stopping is not None or isinstance(scheduler, ReduceLROnPlateau)
    if follows_validation and validation_loader is None:
        raise ValueError(
            "early stopping and ReduceLROnPlateau follow the validation figures, "
            "but validation_loader is None; pass one"
        )
    history = History()
    for epoch in range(1, epochs + 1):
        started = time.perf_counter()
        lr = optimizer.param_groups[0]["lr"]
        with progress_bar(f"epoch {epoch}/{epochs}", len(train_loader), progress) as bar:
            training = train_epoch(
                model, loss_fn, optimizer, train_loader, step_scheduler, clip_grad_norm, epoch, bar
            )
            validation = NOT_MEASURED
            if validation_loader is not None:
                validation = evaluate(model, validation_loader, loss_fn)
                bar.set_postfix_str(f"{bar.postfix}, val {validation.accuracy:.1%}")
        history.append(
            EpochRow(
                epoch,
                train_loss=training.loss,
                train_accuracy=training.accuracy,
                val_loss=validation.loss,
                val_accuracy=validation.accuracy,
                lr=lr,
                seconds=time.perf_counter() - started,
            )
        )

        if isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step(validation.loss)
        elif scheduler is not None:
            scheduler.step()
        if early_stopping is not None:
            early_stopping.update(history.rows[-1], model)
        if on_epoch_end is not None:
            on_epoch_end(history)
        if early_stopping is not None and early_stopping.should_stop:
            break

    if early_stopping is not None:
        early_stopping.restore(model)
    return history


def train_epoch(
    model: Module,
    loss_fn: LossFunction,
    optimizer: Optimizer,
    loader: DataLoader,
    step_scheduler: LRScheduler | None,
    clip_grad_norm: float | None,
    epoch: int,
    bar: tqdm,
) -> Evaluation:
    """One pass over the loader; the mean loss and accuracy while the weights were changing."""
    model.train()
    mean = RunningMean()
    started = time.perf_counter()
    for batch, (images, labels) in enumerate(loader, start=1):
        optimizer.zero_grad()
        scores = model(images)
        loss = loss_fn(scores, labels)
        if not math.isfinite(loss.item()):
            raise NonFiniteLossError(
                f"the training loss is {loss.item()} in epoch {epoch}, batch {batch} of "
                f"{len(loader)}; try a lower learning rate than {optimizer.param_groups[0]['lr']:g}"
                " or clip_grad_norm, or train inside `with detect_anomaly():`, which names the "
                "operation that made it"
            )
        loss.backward()
        if clip_grad_norm is not None:
            clip_grad_norm_(model.parameters(), clip_grad_norm)
        optimizer.step()
        if step_scheduler is not None:
            step_scheduler.step()

        mean.add(loss.item(), scores.data, labels.data)
        so_far = mean.result()
        speed = mean.images / (time.perf_counter() - started)
        bar.set_postfix_str(
            f"loss {so_far.loss:.3f}, acc {so_far.accuracy:.1%}, {speed:,.0f} images/s",
            refresh=False,
        )
        bar.update()
    bar.refresh()
    return mean.result()


def progress_bar(description: str, batches: int, show: bool) -> tqdm:
    """A bar on stderr; `disable=None` is tqdm's word for: only where that is a terminal."""
    return tqdm(
        total=batches,
        desc=description,
        bar_format=BAR_FORMAT,
        dynamic_ncols=True,
        disable=None if show else True,
    )
