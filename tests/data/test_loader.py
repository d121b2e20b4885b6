from __future__ import annotations

import _thread
import json
import threading
import time
import traceback

import numpy as np
import pytest

from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.data import (
    ArrayDataset,
    Compose,
    DataLoader,
    RandomErasing,
    RandomHorizontalFlip,
    ToFloat,
)
from tinygrad_fm.random import default_generator, manual_seed

SIZE = 23
AUGMENT = Compose([RandomHorizontalFlip(), ToFloat(), RandomErasing(value="random")])


def numbered() -> ArrayDataset:
    """A data set whose image i is all i, and whose labels are i modulo 3."""
    images = np.tile(np.arange(SIZE, dtype=np.uint8).reshape(-1, 1, 1, 1), (1, 1, 6, 6))
    return ArrayDataset(images, np.arange(SIZE) % 3, ("a", "b", "c"), "numbered")


def make(seed: int = 0, **options) -> DataLoader:
    defaults = {"batch_size": 4, "shuffle": True, "generator": np.random.default_rng(seed)}
    return DataLoader(numbered(), **{**defaults, **options})


def numbers(batch: tuple[Tensor, Tensor]) -> list[int]:
    return np.rint(batch[0].numpy()[:, 0, 0, 0] * 255).astype(int).tolist()


def epoch(loader: DataLoader) -> list[int]:
    return [number for batch in loader for number in numbers(batch)]


def content(batches) -> list[tuple[bytes, bytes]]:
    return [(images.numpy().tobytes(), labels.numpy().tobytes()) for images, labels in batches]


def threads_left(before: int) -> int:
    """How many threads there are more than before, once they had time to end."""
    for _ in range(500):
        if _thread._count() <= before:
            break
        time.sleep(0.01)
    return _thread._count() - before


@pytest.fixture(params=[0, 1, 2, 5, 100])
def prefetch(request):
    before = _thread._count()
    yield request.param
    assert threads_left(before) <= 0


def test_batches_are_tensors_scaled_to_one_in_order_without_shuffle(prefetch):
    batches = list(make(shuffle=False, prefetch=prefetch))
    assert [images.shape for images, _ in batches] == [(4, 1, 6, 6)] * 5 + [(3, 1, 6, 6)]
    images = np.concatenate([images.numpy() for images, _ in batches])
    labels = np.concatenate([labels.numpy() for _, labels in batches])
    assert (images.dtype, labels.dtype) == (np.float32, np.int64)
    np.testing.assert_array_equal(images, numbered().images / np.float32(255))
    np.testing.assert_array_equal(labels, numbered().labels)


@pytest.mark.parametrize("batch_size", [1, 4, 23, 50])
@pytest.mark.parametrize("drop_last", [False, True])
def test_length(batch_size, drop_last):
    loader = make(batch_size=batch_size, drop_last=drop_last)
    sizes = [len(images) for images, _ in loader]
    assert len(sizes) == len(loader)
    assert sum(sizes) == (SIZE // batch_size * batch_size if drop_last else SIZE)
    assert not drop_last or set(sizes) <= {batch_size}


def test_every_epoch_has_each_image_once_in_another_order_with_its_label():
    loader = make()
    first = [(n, y) for b in loader for n, y in zip(numbers(b), b[1].numpy(), strict=True)]
    assert sorted(n for n, _ in first) == list(range(SIZE))
    assert all(y == n % 3 for n, y in first)
    orders = [[n for n, _ in first], epoch(loader), epoch(loader), list(range(SIZE))]
    assert len({tuple(order) for order in orders}) == 4


def test_hundreds_of_epochs_have_an_order_each():
    loader = make(batch_size=SIZE)
    assert len({tuple(epoch(loader)) for _ in range(300)}) == 300


def test_the_position_counts_the_batches_handed_out(prefetch):
    loader = make(prefetch=prefetch)
    assert loader.position == 0
    assert [loader.position for _ in loader] == [1, 2, 3, 4, 5, 6]
    assert loader.position == 0


def test_the_order_does_not_depend_on_the_batch_size():
    assert epoch(make(batch_size=3)) == epoch(make(batch_size=8))


def test_the_stream_does_not_depend_on_prefetch(prefetch):
    expected, got = make(transform=AUGMENT, prefetch=0), make(transform=AUGMENT, prefetch=prefetch)
    for _ in range(2):
        assert content(expected) == content(got)


def test_augmentation_differs_between_batches_and_epochs_and_from_the_shuffle():
    drawn = []

    def record(images, generator):
        drawn.append(generator.permutation(SIZE).tolist())
        return ToFloat()(images, generator)

    loader = make(transform=record)
    drawn += [epoch(loader), epoch(loader)]
    assert len({tuple(order) for order in drawn}) == 2 * len(loader) + 2


def test_the_default_generator_is_the_librarys():
    orders = []
    for seed in (1, 1, 2):
        manual_seed(seed)
        orders.append(epoch(make(generator=None)))
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize("taken", range(7))
def test_resumed_in_any_place_the_stream_goes_on_bit_for_bit(taken, prefetch):
    options = {"transform": AUGMENT, "prefetch": prefetch}
    whole = make(**options)
    expected = [content(whole) for _ in range(3)]

    interrupted = make(**options)
    epoch(interrupted)
    batches = iter(interrupted)
    start = content([next(batches) for _ in range(taken)])
    if taken == len(interrupted):
        assert next(batches, None) is None
    state = json.loads(json.dumps(interrupted.state_dict()))
    batches.close()

    resumed = make(seed=99, **options)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    if taken < len(resumed):
        assert start + content(resumed) == expected[1]
    assert content(resumed) == expected[2]
    assert resumed.state_dict() == whole.state_dict()


def test_resumed_twice_in_one_epoch():
    whole, loader = make(transform=AUGMENT), make(transform=AUGMENT)
    expected = content(whole)
    parts = []
    for _ in range(2):
        batches = iter(loader)
        parts += content([next(batches), next(batches)])
        loader, state = make(seed=99, transform=AUGMENT), loader.state_dict()
        loader.load_state_dict(state)
    assert parts + content(loader) == expected


def test_a_state_saved_inside_the_loop_at_the_last_batch_resumes_with_an_empty_rest():
    loader, resumed = make(), make()
    for _ in loader:
        state = loader.state_dict()
    resumed.load_state_dict(state)
    assert list(resumed) == []
    assert epoch(resumed) == epoch(loader)


def test_after_a_break_the_next_iteration_is_a_new_epoch():
    loader, whole = make(), make()
    for _ in loader:
        break
    epoch(whole)
    assert epoch(loader) == epoch(whole)


def test_a_generator_used_elsewhere_between_epochs_is_saved_as_it_is():
    loader, resumed = make(), make()
    epoch(loader)
    loader.generator.random(5)
    resumed.load_state_dict(loader.state_dict())
    assert epoch(resumed) == epoch(loader)


def test_breaking_off_leaves_no_thread_and_prepares_nothing_more(prefetch):
    calls, before = [], _thread._count()

    def count(images, generator):
        calls.append(len(images))
        return ToFloat()(images, generator)

    for _ in make(transform=count, prefetch=prefetch, batch_size=1):
        break
    assert threads_left(before) <= 0
    assert 1 <= len(calls) <= 1 + prefetch


def test_breaking_off_cancels_what_was_not_begun():
    calls, gate, before = [], threading.Event(), _thread._count()

    def wait(images, generator):
        calls.append(len(images))
        if len(calls) > 1:
            gate.wait()
        return ToFloat()(images, generator)

    for _ in make(transform=wait, prefetch=20, batch_size=1):
        threading.Timer(0.5, gate.set).start()  # the second batch is in the works until then
        break
    gate.wait()
    assert threads_left(before) <= 0
    assert len(calls) <= 2


def test_an_error_in_the_thread_arrives_at_its_batch_with_its_traceback(prefetch):
    def fail_on_seven(images, generator):
        if 7 in images:
            raise ZeroDivisionError("seven")
        return ToFloat()(images, generator)

    loader = make(shuffle=False, transform=fail_on_seven, prefetch=prefetch)
    batches = iter(loader)
    assert numbers(next(batches)) == [0, 1, 2, 3]
    with pytest.raises(ZeroDivisionError, match="seven") as error:
        next(batches)
    assert "fail_on_seven" in "".join(traceback.format_tb(error.value.__traceback__))
    assert loader.state_dict()["batches"] == 1


def test_a_transform_that_writes_into_its_input_does_not_reach_the_data_set():
    def zero(images, generator):
        images[...] = 0
        return images.astype(np.float32)

    loader = make(shuffle=False, transform=zero)
    list(loader)
    np.testing.assert_array_equal(loader.dataset.images, numbered().images)


def test_a_loader_with_its_own_generator_leaves_the_default_one_alone():
    loader = make(transform=AUGMENT)
    before = default_generator().bit_generator.state
    list(loader)
    assert default_generator().bit_generator.state == before


def test_a_transform_must_return_floats(prefetch):
    loader = make(transform=RandomHorizontalFlip(), prefetch=prefetch)
    with pytest.raises(TypeError, match=r"returned uint8 images, expected floats; put ToFloat"):
        next(iter(loader))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size of at least 1, got 0"),
        ({"prefetch": -1}, "prefetch of at least 0, got -1"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_a_state_of_a_longer_epoch_is_refused():
    loader = make(batch_size=1)
    batches = iter(loader)
    for _ in range(10):
        next(batches)
    with pytest.raises(ValueError, match="at batch 10, but an epoch has 6 batches"):
        make(batch_size=4).load_state_dict(loader.state_dict())
