"""`DataLoader`: a data set as shuffled batches of tensors, resumable to the bit."""

from __future__ import annotations

import weakref
from _thread import start_new_thread
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from queue import SimpleQueue
from typing import Any

import numpy as np

from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.data.dataset import Dataset
from tinygrad_fm.data.transforms import ToFloat, Transform
from tinygrad_fm.ops.undo import Undo
from tinygrad_fm.random import default_generator

Batch = tuple[np.ndarray, np.ndarray]


class DataLoader:
    """Iterate over a data set in batches `(images, labels)`; each iteration is one epoch.

    Every epoch draws one seed from `generator`. The order of the images follows from that seed,
    and the random numbers of batch b from that seed and b alone: the stream of batches depends
    neither on `prefetch` nor on how fast anything runs.

    Args:
        dataset: has `images` (N, …), `labels` (N,) and a length.
        batch_size: how many images a batch has; the last of an epoch may have fewer.
        shuffle: a new random order in each epoch; otherwise the data set's order.
        drop_last: leave out the last batch if it is smaller than the others.
        transform: called as `transform(images, generator)` with uint8 images (B, C, H, W), returns
            floats; the default scales to [0, 1].
        generator: seeded from the library's default generator if not given.
        prefetch: how many batches a background thread prepares ahead; 0 for no thread.

    Yields:
        images (B, C, H, W), float32 by default, and labels (B,), int64, as tensors.

    Raises:
        ValueError: `batch_size` below 1 or `prefetch` below 0.
        TypeError: a transform that does not return floats, when the batch is asked for.

    Source: https://docs.pytorch.org/docs/stable/data.html. `generator` is NumPy's, `transform`
    belongs to the loader because it works on batches, and `state_dict` is an addition.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 1,
        shuffle: bool = False,
        drop_last: bool = False,
        transform: Transform | None = None,
        generator: np.random.Generator | None = None,
        prefetch: int = 2,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"DataLoader expected batch_size of at least 1, got {batch_size}")
        if prefetch < 0:
            raise ValueError(f"DataLoader expected prefetch of at least 0, got {prefetch}")
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.transform = ToFloat() if transform is None else transform
        self.generator = _new_generator() if generator is None else generator
        self.prefetch = prefetch
        # The generator's state before the current epoch; None between epochs.
        self._epoch_start: Mapping[str, Any] | None = None
        self._consumed = 0  # batches of the current epoch that were handed out
        self._resume_at = 0  # where the next iteration begins; not 0 only after load_state_dict

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    @property
    def position(self) -> int:
        """How many batches of the current epoch were handed out; 0 between epochs."""
        return self._consumed

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        first, self._resume_at = self._resume_at, 0
        self._epoch_start = self.generator.bit_generator.state
        seed = int(self.generator.integers(2**63))
        for index, (images, labels) in enumerate(self._batches(seed, first), start=first):
            self._consumed = index + 1
            yield Tensor(images), Tensor(labels)
        self._epoch_start, self._consumed = None, 0

    def state_dict(self) -> dict[str, Any]:
        """The position in the stream of batches, ready for JSON.

        Holds the generator's state before the current epoch and the number of batches handed out
        since.
        """
        generator = self._epoch_start or self.generator.bit_generator.state
        return {"generator": generator, "batches": self._consumed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where another loader's `state_dict` was taken, in the middle of an epoch or not.

        The next iteration yields the rest of that epoch. The other loader must have had the same
        data set, batch size, shuffling and transform.

        Raises:
            ValueError: a position behind the last batch, or the state of another kind of generator.
        """
        if not 0 <= state["batches"] <= len(self):
            raise ValueError(
                f"the state is at batch {state['batches']}, but an epoch has {len(self)} batches; "
                "load it with the data set and batch size it was saved with"
            )
        self.generator.bit_generator.state = state["generator"]
        self._epoch_start = None
        self._consumed = self._resume_at = state["batches"]

    def _batches(self, seed: int, first: int) -> Iterator[Batch]:
        """Batches `first` and after of the epoch with this seed."""
        size = len(self.dataset)
        order = np.arange(size)
        if self.shuffle:
            # Keyed by `size`, which is never the number of a batch: [seed, 0] would not do, and
            # neither would seed alone, which NumPy takes for [seed, 0].
            order = np.random.default_rng([seed, size]).permutation(size)

        def prepare(index: int) -> Batch:
            start = index * self.batch_size
            # Indexing with an array copies: no transform can write into the data set.
            chosen = order[start : start + self.batch_size]
            generator = np.random.default_rng([seed, index])
            images = self.transform(self.dataset.images[chosen], generator)
            if not np.issubdtype(images.dtype, np.floating):
                raise TypeError(
                    f"the transform returned {images.dtype} images, expected floats; "
                    "put ToFloat() into it"
                )
            return images, self.dataset.labels[chosen]

        if self.prefetch == 0:
            yield from map(prepare, range(first, len(self)))
            return

        todo: SimpleQueue[int | None] = SimpleQueue()
        ready: SimpleQueue[Batch | BaseException] = SimpleQueue()
        owner, stop = Undo(), partial(todo.put, None)
        owner.__del__ = stop
        indices = range(first, len(self))
        try:
            start_new_thread(_work, (prepare, todo, ready, weakref.ref(owner)))
            for index in indices:
                todo.put(index)
                if index - first >= self.prefetch:
                    yield _received(ready)
            for _ in indices[-self.prefetch :]:
                yield _received(ready)
        finally:  # also when the caller leaves the loop early: the thread ends
            del owner


def _work(
    prepare: Callable[[int], Batch],
    todo: SimpleQueue[int | None],
    ready: SimpleQueue[Batch | BaseException],
    owner: weakref.ref[Undo],
) -> None:
    """What the thread does: prepare batches as long as somebody waits for them.

    (No `threading.Thread`, whose end runs Python code in which an interrupt would be lost.)
    """
    while (index := todo.get()) is not None and owner() is not None:
        try:
            ready.put(prepare(index))
        except BaseException as error:  # raised again where the batch is asked for
            ready.put(error)


def _received(ready: SimpleQueue[Batch | BaseException]) -> Batch:
    batch = ready.get()
    try:
        if isinstance(batch, BaseException):
            raise batch
        return batch
    finally:
        del batch  # an error would hold the frame that holds it


def _new_generator() -> np.random.Generator:
    return np.random.default_rng(int(default_generator().integers(2**63)))
