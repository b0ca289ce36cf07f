"""From any picture to pixels and from pixels to a model's input; what cannot be used is named in one sentence."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from vitscope._core.errors import ConfigError, CorruptImageError, DataError
from vitscope._core.preprocessing import Preprocessing, decode_image, to_mode


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(width: int = 40, height: int = 30) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def as_rgb(image: Image.Image) -> np.ndarray:
    return np.asarray(to_mode(image, 3))


def test_a_good_image_comes_from_bytes_and_from_a_file(tmp_path: Path) -> None:
    data = encoded(noise())
    (tmp_path / "a.png").write_bytes(data)
    for source in (data, tmp_path / "a.png"):
        assert np.array_equal(np.asarray(decode_image(source, "a.png")), np.asarray(noise()))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            encoded(noise(400, 300), "JPEG")[:20_000],
            r"x\.jpg cannot be decoded \(.*truncated.*\); give another",
        ),
        (
            b"This is a text that calls itself a photograph.",
            r"x\.jpg is not an image that Pillow can read; give another",
        ),
        (b"", r"x\.jpg is not an image that Pillow can read"),
        (encoded(noise())[:60], r"x\.jpg (cannot be decoded|is not an image)"),
    ],
    ids=["truncated JPEG", "text", "empty", "truncated PNG"],
)
def test_a_corrupt_image_is_named(data: bytes, message: str) -> None:
    with pytest.raises(CorruptImageError, match=message) as caught:
        decode_image(data, "x.jpg")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("limit", [1_000, 500], ids=["warned of", "refused by Pillow"])
def test_a_decompression_bomb_is_refused(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)  # the image has 1,200
    with pytest.raises(
        CorruptImageError, match=rf"big\.png claims more than {limit:,} pixels and may be a decompression bomb; scale"
    ):
        decode_image(encoded(noise()), "big.png")


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1)])
def test_a_picture_of_one_pixel_a_side_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(CorruptImageError, match=rf"dot\.png is {size[0]}×{size[1]} pixels, expected at least 2×2"):
        decode_image(encoded(Image.new("RGB", size)), "dot.png")


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.png does not exist; give the path of an image file"):
        decode_image(tmp_path / "gone.png", "gone.png")
    with pytest.raises(DataError, match="pictures is a folder, expected an image file"):
        decode_image(tmp_path, "pictures")


def failing(error: Exception) -> Any:
    """A function that raises `error`, whatever it is called with."""

    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EMFILE, "a.png cannot be read (Too many open files); mend that and start again"),
        (errno.EIO, "a.png cannot be read (Input/output error); mend that and start again"),
        (errno.EACCES, "a.png cannot be read (Permission denied); check its permissions"),
    ],
)
def test_what_the_system_would_not_read_is_not_called_corrupt(
    monkeypatch: pytest.MonkeyPatch, number: int, message: str
) -> None:
    monkeypatch.setattr(Path, "read_bytes", failing(OSError(number, os.strerror(number))))
    with pytest.raises(DataError) as caught:
        decode_image(Path("a.png"), "a.png")
    assert str(caught.value) == message
    assert not isinstance(caught.value, CorruptImageError)


@pytest.mark.parametrize("error", [MemoryError(), OSError(f"{ImageFile.ERRORS[-9]} when reading image file")])
def test_too_little_memory_is_not_called_corrupt(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", failing(error))
    with pytest.raises(DataError, match=r"there is too little memory to decode big\.png; free some, or") as caught:
        decode_image(encoded(noise(), "BMP"), "big.png")
    assert not isinstance(caught.value, CorruptImageError)


def test_a_file_whose_numbers_point_before_its_beginning_is_corrupt_and_no_fault_of_the_system(tmp_path: Path) -> None:
    class Seeks(ImageFile.ImageFile):
        format, format_description = "SEEKS", "goes where the file tells it"

        def _open(self) -> None:
            self._size, self._mode = (4, 4), "L"

        def load(self) -> Any:
            self.fp.seek(-5)

    Image.init()
    Image.register_open("SEEKS", Seeks, lambda prefix: prefix.startswith(b"SEEKS"))
    try:
        (tmp_path / "x.seeks").write_bytes(b"SEEKS and more")
        with pytest.raises(CorruptImageError, match="cannot be decoded"):
            decode_image(tmp_path / "x.seeks", "x.seeks")
    finally:
        Image.ID.remove("SEEKS")
        del Image.OPEN["SEEKS"]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_cut_off(kind: str) -> None:
    ramp = np.linspace(0, 65_535, 64, dtype=np.uint16).reshape(8, 8)
    image = decode_image(encoded(Image.fromarray(ramp), kind), "deep")
    expected = np.round(ramp.astype(float) / 257).astype(np.uint8)
    assert np.abs(as_rgb(image)[:, :, 0].astype(int) - expected.astype(int)).max() <= 1
    assert np.array_equal(np.asarray(to_mode(image, 1)), as_rgb(image)[:, :, 0])


def test_floats_are_scaled_to_their_brightest() -> None:
    image = Image.fromarray(np.array([[0.0, 102.0], [204.0, 510.0]], dtype=np.float32))
    assert as_rgb(image)[:, :, 0].tolist() == [[0, 51], [102, 255]]


def test_cmyk_becomes_rgb() -> None:
    image = decode_image(encoded(Image.new("CMYK", (4, 4), (0, 255, 255, 0)), "JPEG", quality=95), "print.jpg")
    assert image.mode == "CMYK"
    red, green, blue = as_rgb(image)[0, 0].tolist()
    assert red > 240
    assert max(green, blue) < 15


def test_transparency_is_laid_on_white() -> None:
    clear = Image.new("RGBA", (2, 2), (255, 0, 0, 0))
    clear.putpixel((1, 1), (255, 0, 0, 255))
    clear.putpixel((0, 1), (0, 0, 0, 128))
    assert as_rgb(clear).tolist() == [[[255] * 3, [255] * 3], [[127] * 3, [255, 0, 0]]]
    grey = Image.new("LA", (2, 2), (0, 0))
    assert np.asarray(to_mode(grey, 1)).tolist() == [[255, 255], [255, 255]]


def test_transparency_of_a_palette() -> None:
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putpixel((1, 0), 1)
    image = decode_image(encoded(palette, transparency=0), "palette.png")
    assert image.mode == "P"
    assert as_rgb(image).tolist() == [[[255] * 3, [200, 100, 50]], [[255] * 3, [255] * 3]]


def test_one_bit_and_greyscale_become_what_is_asked() -> None:
    bits = Image.fromarray(np.array([[True, False], [False, True]]))
    assert as_rgb(bits)[:, :, 1].tolist() == [[255, 0], [0, 255]]
    assert to_mode(noise(), 1).mode == "L"


def test_orientation_is_applied() -> None:
    upright = Image.new("RGB", (8, 4), "black")
    upright.paste((255, 255, 255), (0, 0, 4, 4))  # bright on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying: to be turned by 90° clockwise
    image = decode_image(encoded(upright, exif=exif), "phone.png")
    array = Preprocessing(image_size=(8, 4)).to_array(image)
    assert array.shape == (8, 4, 3)
    assert array[:4].min() == 255  # left is now the top
    assert array[4:].max() == 0


@pytest.mark.parametrize(("resize", "bright"), [("crop", 1 / 2), ("squash", 1 / 6)])
def test_crop_keeps_proportions_and_squash_keeps_everything(resize: Any, bright: float) -> None:
    wide = Image.new("L", (60, 20), 0)
    wide.paste(255, (25, 0, 35, 20))  # the middle sixth is bright: half of the middle square
    array = Preprocessing(image_size=20, channels=1, resize=resize, mean=(0.5,), std=(0.5,)).to_array(wide)
    assert array.shape == (20, 20, 1)
    assert array.dtype == np.uint8
    assert array.mean() == pytest.approx(255 * bright, abs=3)


def test_an_image_of_the_right_size_passes_untouched() -> None:
    assert np.array_equal(Preprocessing(image_size=(30, 40)).to_array(noise()), np.asarray(noise()))


def test_scaling_down_averages() -> None:
    checkers = Image.fromarray((np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8))
    small = Preprocessing(image_size=8).to_array(checkers)[2:-2, 2:-2]
    assert np.abs(small.astype(int) - 127).max() <= 3  # without antialiasing it would be black or white


def test_normalise_is_the_formula_and_leaves_the_pixels_alone() -> None:
    mean, std = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    pixels = torch.arange(2 * 3 * 4 * 5, dtype=torch.uint8).reshape(2, 3, 4, 5)
    before = pixels.clone()
    out = Preprocessing(image_size=(4, 5), mean=mean, std=std).normalise(pixels)
    expected = (pixels.double() / 255 - torch.tensor(mean).double().view(1, 3, 1, 1)) / torch.tensor(std).view(
        1, 3, 1, 1
    )
    assert out.dtype == torch.float32
    assert torch.allclose(out.double(), expected, atol=1e-6)
    assert torch.equal(pixels, before)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_size": 8, "channels": 1}, "mean has 3 and std 3 numbers, expected one for each of 1 channels"),
        ({"image_size": 8, "std": [1, 0, 1]}, r"std\.1 is 0, expected a number greater than 0"),
        ({"image_size": 8, "channels": 4}, "channels is 4, expected one of 1 or 3"),
        ({}, "'image_size' is missing and has no default; give it a value"),
        ({"image_size": True}, "image_size is true"),
        ({"image_size": 8, "rezise": "crop"}, r"unknown key 'rezise' \(did you mean 'resize'\?\)"),
    ],
)
def test_settings_that_do_not_fit(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Preprocessing.parse(values)


def test_settings_survive_their_dictionary() -> None:
    settings = Preprocessing(image_size=(8, 12), channels=1, mean=(0.1,), std=(0.3,), resize="squash")
    assert Preprocessing.parse(settings.to_dict()) == settings


@pytest.mark.parametrize("size", [0, (8, -1)])
def test_sizes_are_positive(size: Any) -> None:
    with pytest.raises(ConfigError, match="image_size must be at least 1 pixel"):
        Preprocessing.parse({"image_size": size})
