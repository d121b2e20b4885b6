"""The training loop: forward, loss, backward, step; then validation, once an epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import astuple
from typing import TYPE_CHECKING, Any

from tinygrad_fm.autograd import detect_anomaly
from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.data.loader import DataLoader
from tinygrad_fm.errors import AnomalyError, NonFiniteLossError, extra
from tinygrad_fm.nn import Module
from tinygrad_fm.nn.utils import clip_grad_norm_
from tinygrad_fm.optim import Optimizer
from tinygrad_fm.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from tinygrad_fm.plan import compile as plan_calls
from tinygrad_fm.random import default_generator
from tinygrad_fm.train.early_stopping import EarlyStopping
from tinygrad_fm.train.evaluation import Evaluation, LossFunction, RunningMean, evaluate
from tinygrad_fm.train.history import EpochRow, History

if TYPE_CHECKING:
    from tqdm import tqdm

NOT_MEASURED = Evaluation(loss=math.nan, accuracy=math.nan)
# Both fit 80 columns: "epoch 3/20 141/844 |██  | 00:20 left, loss 0.412, acc 85.1%, 9,876 images/s"
# and at the end       "epoch 3/20 in 00:24, loss 0.405, acc 85.3%, 9,890 images/s, val 86.0%".
UNDER_WAY = "{desc} {n_fmt}/{total_fmt} |{bar}| {remaining} left{postfix}"
ENDED = "{desc} in {elapsed}{postfix}"


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
    compile: bool = True,
    progress: bool = True,
    on_epoch_end: Callable[[History], None] | None = None,
) -> History:
    """Train a classifier and return what happened, epoch by epoch.

    For a training that can be interrupted and resumed, see `Training`.

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
        compile: plan the model's calls and replay them, see `tinygrad_fm.compile`.
        progress: show a bar on stderr, where that is a terminal.
        on_epoch_end: called with the history when an epoch is complete.

    Raises:
        MissingPackageError: tqdm, which draws the bar, is not installed.
        NonFiniteLossError: the training loss became NaN or infinite.
        ValueError: validation is needed (early stopping, ReduceLROnPlateau) but there is none.
        RuntimeError: early stopping never saw a finite validation figure.
    """
    training = Training(
        model,
        loss_fn,
        optimizer,
        train_loader,
        validation_loader,
        epochs=epochs,
        scheduler=scheduler,
        step_scheduler=step_scheduler,
        early_stopping=early_stopping,
        clip_grad_norm=clip_grad_norm,
        compile=compile,
    )
    return training.run(progress, on_epoch_end=on_epoch_end)


def _gradients_of(model: Module, loss_fn: LossFunction, optimizer: Optimizer) -> Callable:
    """A function of a batch that brings all gradients, and returns the loss and the scores."""

    def gradients(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        optimizer.zero_grad()
        scores = model(images)
        loss = loss_fn(scores, labels)
        loss.backward()
        return loss, scores

    gradients.__qualname__ = f"a training step of {type(model).__name__}"
    return gradients


class Training:
    """A training under way: `run` goes on from where it is, and `state_dict` is where it is.

    The arguments are those of `fit`. Loaded into a `Training` made in the same way, a state dict
    continues to the bit, in the middle of an epoch too; only `EpochRow.seconds` is wall-clock time.

    Attributes:
        history: the epochs that are complete.
    """

    def __init__(
        self,
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
        compile: bool = True,
    ) -> None:
        follows_validation = early_stopping is not None or isinstance(scheduler, ReduceLROnPlateau)
        if follows_validation and validation_loader is None:
            raise ValueError(
                "early stopping and ReduceLROnPlateau follow the validation figures, "
                "but validation_loader is None; pass one"
            )
        self.model, self.loss_fn, self.optimizer = model, loss_fn, optimizer
        self.compile = compile
        self._gradients = _gradients_of(model, loss_fn, optimizer)
        if compile:
            plan_calls(model)
            self._gradients = plan_calls(self._gradients)
        self.train_loader, self.validation_loader = train_loader, validation_loader
        self.epochs = epochs
        self.scheduler, self.step_scheduler = scheduler, step_scheduler
        self.early_stopping = early_stopping
        self.clip_grad_norm = clip_grad_norm
        self.history = History()
        self._begin_epoch()

    # ---------------------------------------------------------------- running

    def run(
        self,
        progress: bool = True,
        on_batch_end: Callable[[], None] | None = None,
        on_epoch_end: Callable[[History], None] | None = None,
    ) -> History:
        """Train until the epochs are over or early stopping ends it.

        Args:
            on_batch_end: called after every batch; whatever it raises ends the training at a
                point that `state_dict` can describe.
            on_epoch_end: called with the history when an epoch is complete.
        """
        while not self.over:
            self._started = time.perf_counter()
            with self._bar(progress) as bar:
                figures = self._train(bar, on_batch_end)
                training, validation = self._mean.result(), NOT_MEASURED
                if self.validation_loader is not None:
                    validation = evaluate(self.model, self.validation_loader, self.loss_fn)
                    figures = f"{figures}, val {validation.accuracy:.1%}"
                bar.bar_format = ENDED
                bar.set_postfix_str(figures)
            self._end_epoch(training, validation)
            if on_epoch_end is not None:
                on_epoch_end(self.history)
        if self.early_stopping is not None:
            self.early_stopping.restore(self.model)
        return self.history

    @property
    def epoch(self) -> int:
        """The number of the current epoch, from 1."""
        return len(self.history) + 1

    @property
    def over(self) -> bool:
        """Whether nothing is left to train."""
        stopped = self.early_stopping is not None and self.early_stopping.should_stop
        return stopped or len(self.history) >= self.epochs

    @property
    def seconds(self) -> float:
        """Wall-clock time of all epochs so far."""
        return sum(row.seconds for row in self.history)

    def _begin_epoch(self) -> None:
        self._lr = self.optimizer.param_groups[0]["lr"]
        self._mean = RunningMean()
        self._seconds_before = 0.0  # of this epoch, in earlier processes
        self._started = time.perf_counter()

    def _seconds_so_far(self) -> float:
        return self._seconds_before + time.perf_counter() - self._started

    def _train(self, bar: tqdm, on_batch_end: Callable[[], None] | None) -> str:
        """One pass over the loader, or what is left of it; the figures that the bar shows last."""
        self.model.train()
        seen, figures = self._mean.images, "resumed"
        for images, labels in self.train_loader:
            self._step(images, labels)
            so_far = self._mean.result()
            speed = (self._mean.images - seen) / (time.perf_counter() - self._started)
            figures = f"loss {so_far.loss:.3f}, acc {so_far.accuracy:.1%}, {speed:,.0f} images/s"
            bar.set_postfix_str(figures, refresh=False)
            bar.update()
            if on_batch_end is not None:
                on_batch_end()
        bar.refresh()
        return figures

    def _step(self, images: Tensor, labels: Tensor) -> None:
        random_state = default_generator().bit_generator.state
        loss, scores = self._gradients(images, labels)
        if not math.isfinite(loss.item()):
            default_generator().bit_generator.state = random_state  # the same dropout once more
            raise NonFiniteLossError(self._describe_failure(loss.item(), images, labels))
        if self.clip_grad_norm is not None:
            clip_grad_norm_(self.model.parameters(), self.clip_grad_norm)
        self.optimizer.step()
        if self.step_scheduler is not None:
            self.step_scheduler.step()
        self._mean.add(loss.item(), scores.data, labels.data)

    def _end_epoch(self, training: Evaluation, validation: Evaluation) -> None:
        self.history.append(
            EpochRow(
                self.epoch,
                train_loss=training.loss,
                train_accuracy=training.accuracy,
                val_loss=validation.loss,
                val_accuracy=validation.accuracy,
                lr=self._lr,
                seconds=self._seconds_so_far(),
            )
        )
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(validation.loss)
        elif self.scheduler is not None:
            self.scheduler.step()
        if self.early_stopping is not None:
            self.early_stopping.update(self.history.rows[-1], self.model)
        self._begin_epoch()

    def _bar(self, show: bool) -> tqdm:
        """A bar on stderr; `disable=None` is tqdm's word for: only where that is a terminal."""
        with extra("train"):
            from tqdm import tqdm
        return tqdm(
            initial=self.train_loader.position,
            total=len(self.train_loader),
            desc=f"epoch {self.epoch}/{self.epochs}",
            bar_format=UNDER_WAY,
            dynamic_ncols=True,
            disable=None if show else True,
        )

    def _describe_failure(self, loss: float, images: Tensor, labels: Tensor) -> str:
        """Where and why the loss is not finite: the batch is run again to find the operation."""
        why = "no operation made it when the batch was run again"
        try:
            with detect_anomaly():
                self.loss_fn(self.model(images), labels)
        except AnomalyError as error:
            why = str(error)
        return (
            f"the training loss is {loss} in epoch {self.epoch}, batch "
            f"{self.train_loader.position} of {len(self.train_loader)}: {why}; try a lower "
            f"learning rate than {self.optimizer.param_groups[0]['lr']:g}, or clip_grad_norm"
        )

    # ---------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """All that `run` changes, in nested dicts and lists of arrays, numbers and strings.

        Arrays are live, not copies. To be called between batches: in `on_batch_end`, say.
        """
        return {
            **{name: part.state_dict() for name, part in self._parts().items()},
            "random": default_generator().bit_generator.state,
            "compile": self.compile,
            "history": [list(astuple(row)) for row in self.history],
            "epoch": {"lr": self._lr, "seconds": self._seconds_so_far()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another `Training`'s `state_dict` was taken.

        Also sets the library's default generator, which dropout draws from.

        Raises:
            KeyError, TypeError, ValueError: the state of a training with other parts.
        """
        if state.get("compile", False) != self.compile:
            raise ValueError(
                "this training was begun with compile="
                f"{not self.compile}, whose last bits are others; go on with the same"
            )
        parts = self._parts()
        for name, part in parts.items():
            part.load_state_dict(state[name])
        default_generator().bit_generator.state = state["random"]
        self.history.rows = [EpochRow(*row) for row in state["history"]]
        self._lr = state["epoch"]["lr"]
        self._seconds_before = state["epoch"]["seconds"]
        self._started = time.perf_counter()

    def _parts(self) -> dict[str, Any]:
        """Everything that has a state of its own."""
        parts = {
            "model": self.model,
            "optimizer": self.optimizer,
            "scheduler": self.scheduler,
            "step_scheduler": self.step_scheduler,
            "early_stopping": self.early_stopping,
            "train_loader": self.train_loader,
            "mean": self._mean,
        }
        return {name: part for name, part in parts.items() if part is not None}
