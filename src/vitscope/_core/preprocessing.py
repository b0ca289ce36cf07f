"""From any picture to the numbers a model reads, the same in training, evaluation and serving; travels with the weights.

In goes a decoded Pillow image; out comes uint8 H×W×C (`to_array`), then float32 (`normalise`). No torch is imported here
until a tensor is given.
"""

from __future__ import annotations

import io
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from vitscope._core.errors import CorruptImageError, DataError
from vitscope._core.spec import Spec

if TYPE_CHECKING:
    from torch import Tensor

MIN_SIDE = 2


def _pair(value: Any) -> tuple[int, int]:
    pair = value if isinstance(value, list | tuple) else (value, value)
    if len(pair) != 2 or any(isinstance(side, bool) or not isinstance(side, Integral) for side in pair):
        raise PydanticCustomError("size", "expected a number of pixels or [height, width]")
    return int(pair[0]), int(pair[1])


Size = Annotated[tuple[int, int], BeforeValidator(_pair)]
"""Height and width; one number stands for both."""


class Preprocessing(Spec):
    """How an image becomes a model's input.

    `image_size` is (height, width) in pixels. `resize` says how an image of another size is fitted: `crop` scales the image until
    it covers the target and cuts the middle out (the usual evaluation transform), `squash` scales both sides and bends the
    proportions. `mean` and `std` are per channel on the 0 to 1 scale.
    """

    image_size: Size
    channels: Literal[1, 3] = 3
    resize: Literal["crop", "squash"] = "crop"
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[Annotated[float, Field(gt=0)], ...] = (0.5, 0.5, 0.5)

    @model_validator(mode="after")
    def _numbers_fit(self) -> Preprocessing:
        if min(self.image_size) < 1:
            raise ValueError(
                f"image_size must be at least 1 pixel a side, not {self.image_size[0]}×{self.image_size[1]}"
            )
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise ValueError(
                f"mean has {len(self.mean)} and std {len(self.std)} numbers, expected one for each of {self.channels} channels"
            )
        return self

    def to_array(self, image: Image.Image) -> UInt8[np.ndarray, "H W C"]:
        """The image as the model's size and channels: orientation applied, transparency laid on white, scaled with antialiasing."""
        image = to_mode(ImageOps.exif_transpose(image), self.channels)
        height, width = self.image_size
        if image.size != (width, height):
            if self.resize == "crop":
                image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
            else:
                image = image.resize((width, height), Image.Resampling.BICUBIC)
        array = np.asarray(image, dtype=np.uint8)
        return array[:, :, None] if array.ndim == 2 else array

    def normalise(self, images: UInt8[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """uint8 pixels to zero-mean, unit-variance float32, on the images' device."""
        import torch

        from vitscope._core.constants import constant

        mean = constant(self.mean, torch.float32, images.device).mul(255).view(1, -1, 1, 1)
        scale = constant(self.std, torch.float32, images.device).mul(255).reciprocal_().view(1, -1, 1, 1)
        return images.to(torch.float32).sub_(mean).mul_(scale)


def to_mode(image: Image.Image, channels: int) -> Image.Image:
    """Greyscale or RGB, whatever the file held (palette, alpha, CMYK, 16 bit)."""
    if image.mode.startswith(("I", "F")):
        array = np.asarray(image, dtype=np.float64)
        top = 65535.0 if image.mode.startswith("I") else max(float(array.max()), 1.0)
        image = Image.fromarray((array.clip(0, top) * (255.0 / top)).round().astype(np.uint8))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image.convert("L" if channels == 1 else "RGB")


def _formats() -> list[str]:
    """Every format that Pillow reads but those that start another program (EPS: Ghostscript)."""
    Image.init()
    return [name for name in Image.ID if name != "EPS"]


def decode_image(source: Path | bytes, name: str) -> Image.Image:
    """Opens and fully decodes an image.

    Args:
        source: a file or its bytes.
        name: how to call it in a message.

    Raises:
        CorruptImageError: the image's own fault, and the same the next time: not an image, truncated, otherwise undecodable, a
            decompression bomb, or smaller than 2×2 pixels.
        DataError: no fault of the image's, and perhaps gone the next time: no such file, a folder, a system that would not
            read it, too little memory.
    """
    # read whole before it is decoded: an OSError of the first is the system's fault, one of the second the image's
    content = source if isinstance(source, bytes) else _content(source, name)
    limit = Image.MAX_IMAGE_PIXELS
    try:
        image = Image.open(io.BytesIO(content), formats=_formats())
        width, height = image.size
        if limit is not None and width * height > limit:
            raise Image.DecompressionBombError
        image.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise CorruptImageError(
            f"{name} claims more than {limit:,} pixels and may be a decompression bomb; scale it down first"
        ) from None
    except UnidentifiedImageError:
        raise CorruptImageError(f"{name} is not an image that Pillow can read; give another") from None
    except Exception as error:  # decoders raise what they like: struct.error, zlib.error, KeyError, SyntaxError, …
        if isinstance(error, MemoryError) or "out of memory" in str(error):  # Pillow's decoders say it as an OSError
            raise lacks_memory(name) from None
        raise CorruptImageError(f"{name} cannot be decoded ({error}); give another") from None
    if min(width, height) < MIN_SIDE:
        raise CorruptImageError(
            f"{name} is {width}×{height} pixels, expected at least {MIN_SIDE}×{MIN_SIDE}; give another"
        )
    return image


def cannot_be_read(name: str, error: OSError) -> DataError:
    """The error for a file that the system would not read, which says nothing about the image in it."""
    advice = "mend that and start again"
    if isinstance(error, FileNotFoundError):
        advice = "it may have been removed meanwhile"
    elif isinstance(error, PermissionError):
        advice = "check its permissions"
    return DataError(f"{name} cannot be read ({error.strerror or error}); {advice}")


def lacks_memory(name: str) -> DataError:
    """The error for an image that could not be decoded because memory ran out."""
    return DataError(f"there is too little memory to decode {name}; free some, or remove the image or scale it down")


def _content(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{name} does not exist; give the path of an image file") from None
    except IsADirectoryError:
        raise DataError(f"{name} is a folder, expected an image file") from None
    except OSError as error:
        raise cannot_be_read(name, error) from None
    except MemoryError:
        raise lacks_memory(name) from None
