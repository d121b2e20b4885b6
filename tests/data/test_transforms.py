from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision_import import import_torchvision

from tinygrad_fm.data import (
    Compose,
    Normalize,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomRotation,
    ToFloat,
)
from tinygrad_fm.data.transforms import crop, erase, hflip, rotate

import_torchvision()
from torchvision.transforms import InterpolationMode, v2  # noqa: E402
from torchvision.transforms.v2 import functional as TF  # noqa: E402

BATCH = 40
EVERY_TRANSFORM = [
    ToFloat(),
    Normalize(0.3, 0.5),
    RandomCrop(12, padding=2),
    RandomHorizontalFlip(),
    RandomRotation(30, "bilinear"),
    RandomErasing(),
    RandomErasing(value="random"),
    Compose([RandomCrop(12), RandomHorizontalFlip()]),
]


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def pictures(shape=(BATCH, 2, 14, 12), dtype=np.float32) -> np.ndarray:
    if dtype == np.uint8:
        return generator(1).integers(0, 256, shape, dtype=dtype)
    return generator(1).random(shape).astype(dtype)


def one_by_one(function, images: np.ndarray, *parameters) -> np.ndarray:
    """A torchvision functional applied to each image with its own parameters."""
    results = [
        function(torch.from_numpy(image), *(p.item() for p in each))
        for image, *each in zip(images, *parameters, strict=True)
    ]
    return torch.stack(results).numpy()


# ---------------------------------------------------------------- geometry, against torchvision


def test_crop():
    images = pictures()
    tops, lefts = generator().integers(0, 5, BATCH), generator().integers(0, 6, BATCH)
    expected = one_by_one(lambda *args: TF.crop(*args, 10, 7), images, tops, lefts)
    np.testing.assert_array_equal(crop(images, tops, lefts, (10, 7)), expected)


def test_hflip():
    images, flags = pictures(), generator().random(BATCH) < 0.5
    expected = one_by_one(lambda im, flag: TF.hflip(im) if flag else im, images, flags)
    np.testing.assert_array_equal(hflip(images, flags), expected)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8])
@pytest.mark.parametrize("size", [(14, 12), (9, 9)])
def test_rotate(interpolation, dtype, size):
    images = pictures((BATCH, 2, *size), dtype)
    angles = generator().uniform(-200, 200, BATCH)
    mode = InterpolationMode(interpolation)
    expected = one_by_one(lambda im, a: TF.rotate(im, a, mode), images, angles)
    got = rotate(images, angles, interpolation)
    assert got.dtype == dtype
    if dtype == np.uint8:  # torchvision, too, mixes in float32 and rounds
        assert np.abs(got.astype(int) - expected).max() <= (interpolation == "bilinear")
        assert np.mean(got != expected) < 1e-3
    else:
        np.testing.assert_allclose(got, expected, atol=2e-5 if dtype == np.float32 else 1e-12)


def test_quarter_turns_are_exact_and_counter_clockwise():
    images = pictures((4, 1, 8, 8))
    got = rotate(images, np.array([0.0, 90.0, 180.0, -90.0]))
    for turns in range(4):
        np.testing.assert_array_equal(got[turns], np.rot90(images[turns], turns, axes=(1, 2)))


@pytest.mark.parametrize("value", [0.0, 0.7])
def test_erase(value):
    images = pictures()
    tops, heights = generator(2).integers(0, 7, (2, BATCH))
    lefts, widths = generator(3).integers(0, 6, (2, BATCH))
    constant = torch.tensor(value).reshape(1, 1, 1)
    expected = one_by_one(
        lambda *args: TF.erase(*args, constant), images, tops, lefts, heights, widths
    )
    got = erase(images, tops, lefts, heights, widths, value)
    np.testing.assert_array_equal(got, expected)


# ---------------------------------------------------------------- values


def test_to_float_and_normalize_as_torchvision():
    images = pictures(dtype=np.uint8)
    ours = Compose([ToFloat(), Normalize([0.2, 0.3], [0.5, 0.6])])(images, generator())
    theirs = v2.Compose(
        [v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.2, 0.3], [0.5, 0.6])]
    )(torch.from_numpy(images))
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-6)


# ---------------------------------------------------------------- chance


@pytest.mark.parametrize("transform", EVERY_TRANSFORM, ids=repr)
def test_same_seed_same_bits_and_the_input_is_untouched(transform):
    images = pictures(dtype=np.uint8 if transform == ToFloat() else np.float32)
    images.flags.writeable = False
    first, again = transform(images, generator()), transform(images, generator())
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.float32
    assert not np.shares_memory(first, images)


@pytest.mark.parametrize("transform", EVERY_TRANSFORM[1:], ids=repr)
def test_float64_stays_float64(transform):
    assert transform(pictures(dtype=np.float64), generator()).dtype == np.float64


def test_random_crop_reaches_every_window_equally_and_pads_with_zeros():
    # The padded image is 4x4 with its only 1 at (1, 1): a window tells by it where it was cut.
    images = np.zeros((9000, 1, 2, 2), np.float32)
    images[:, :, 0, 0] = 1
    got = RandomCrop(2, padding=1)(images, generator())
    windows, counts = np.unique(got.reshape(9000, -1), axis=0, return_counts=True)
    assert len(windows) == 5  # the 1 in each of the four corners, or not in sight
    assert np.abs(np.sort(counts) - [1000, 1000, 1000, 1000, 5000]).max() < 150


def test_flip_probability():
    images = pictures((4000, 1, 1, 2))
    for p in (0.0, 0.3, 1.0):
        got = RandomHorizontalFlip(p)(images, generator())
        flipped = (got[..., 0] == images[..., 1]).mean()
        assert flipped == pytest.approx(p, abs=0.03 if p == 0.3 else 0)


def test_rotation_range():
    images = pictures((50, 1, 8, 8))
    turned = RandomRotation((90, 90))(images, generator())
    np.testing.assert_array_equal(turned, np.rot90(images, axes=(2, 3)))
    symmetric, explicit = RandomRotation(25), RandomRotation((-25, 25))
    np.testing.assert_array_equal(symmetric(images, generator()), explicit(images, generator()))


def test_random_erasing_draws_as_torchvision_does():
    shape, options = (3000, 1, 28, 28), {"p": 0.7, "scale": (0.02, 0.4), "ratio": (0.3, 3.3)}
    ours = RandomErasing(**options)(np.ones(shape, np.float32), generator()) == 0
    torch.manual_seed(0)
    transform = v2.RandomErasing(**options)
    theirs = torch.stack([transform(image) for image in torch.ones(shape)]).numpy() == 0
    for erased in (ours, theirs):
        touched = erased.any(axis=(1, 2, 3))
        assert touched.mean() == pytest.approx(0.7, abs=0.03)
        areas = erased.sum(axis=(1, 2, 3))[touched] / 28**2
        assert areas.mean() == pytest.approx(0.2, abs=0.02)
        assert areas.min() > 0.015
        assert areas.max() < 0.42
        heights, widths = erased.any(axis=3).sum(axis=(1, 2)), erased.any(axis=2).sum(axis=(1, 2))
        np.testing.assert_array_equal(erased.sum(axis=(1, 2, 3)), heights * widths)  # rectangles
        aspect = np.log(heights[touched] / widths[touched])
        assert abs(aspect.mean()) < 0.05
        assert aspect.std() == pytest.approx(0.67, abs=0.05)
        where = erased.mean(axis=(0, 1))
        np.testing.assert_allclose(where, where[::-1, ::-1], atol=0.05)  # nowhere preferred


def test_random_erasing_tries_ten_times_as_torchvision_does():
    shape, options = (3000, 1, 28, 28), {"p": 1.0, "scale": (0.6, 1.0)}
    ours = RandomErasing(**options)(np.ones(shape, np.float32), generator()) == 0
    torch.manual_seed(0)
    transform = v2.RandomErasing(**options)
    theirs = torch.stack([transform(image) for image in torch.ones(shape)]).numpy() == 0
    for share in (lambda erased: erased.any(axis=(1, 2, 3)).mean(), np.mean):
        assert share(ours) == pytest.approx(share(theirs), abs=0.02)


def test_random_erasing_writes_normal_noise():
    images = np.full((500, 1, 28, 28), 9, np.float32)
    got = RandomErasing(p=1, value="random")(images, generator())
    noise = got[got != 9]
    assert abs(noise.mean()) < 0.02
    assert noise.std() == pytest.approx(1, abs=0.02)


def test_erasing_that_never_fits_leaves_the_images_alone():
    images = pictures((20, 1, 8, 8))
    np.testing.assert_array_equal(RandomErasing(p=1, scale=(1, 1))(images, generator()), images)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize("transform", [Normalize(0.3, 0.5), RandomErasing()], ids=repr)
def test_transforms_of_values_ask_for_floats(transform):
    with pytest.raises(TypeError, match=r"expected floats, got uint8; put ToFloat\(\) before it"):
        transform(pictures(dtype=np.uint8), generator())


def test_to_float_twice_is_refused():
    with pytest.raises(TypeError, match="expected uint8 images, got float32"):
        ToFloat()(pictures(), generator())


def test_a_crop_larger_than_the_images_is_refused():
    with pytest.raises(ValueError, match=r"at least \(20, 20\) pixels, got \(18, 16\)"):
        RandomCrop(20, padding=2)(pictures(), generator())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Normalize(0.3, 0.0), "expected std > 0, got 0.0"),
        (lambda: RandomHorizontalFlip(50), "probability p from 0 to 1, got 50"),
        (lambda: RandomErasing(p=-1), "probability p from 0 to 1, got -1"),
        (lambda: RandomErasing(value="noise"), "a number or \"random\", got 'noise'"),
        (lambda: RandomErasing(scale=(0.3, 0.1)), "scale"),
        (lambda: RandomErasing(ratio=(0, 1)), "ratio"),
        (lambda: rotate(pictures(), np.zeros(BATCH), "cubic"), "\"bilinear\", got 'cubic'"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
