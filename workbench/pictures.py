"""Pictures as a model takes them: upright, opaque, 8 bits, in its size, colours and order of axes."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .errors import BadInput, UnreadableFile
from .words import first_line

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg")
MOST_NUMBERS = 1 << 28
"""Of all pictures of a folder together, in the size the model takes: 1,700 of 224 by 224 in colour."""


def load(
    path: Path, row: Sequence[int | str | None] | None, invert: bool, notes: list[str]
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """A picture, or all of a folder in the order of their names; subfolders are classes.

    Args:
        row: the shape of a row of the model's input; None for the pictures as they are.
        invert: make light what is dark.
        notes: what was changed is added here.

    Returns:
        (values 0 to 255, uint8: (pictures, height, width) grey, (pictures, height, width, 3) in colour, or as the
        model takes them; the class of each picture or None; the file of each)

    Raises:
        BadInput: the model takes no pictures, or these have different sizes and it takes any.
        UnreadableFile: a file is no picture, damaged, or too large.
    """
    files = _files(path)
    height, width, channels, axes = _wanted(row)
    said: Counter[str] = Counter()
    grey = channels == 1
    pictures: list[np.ndarray] = []
    for file in files:
        image = _decoded(file, said)
        if channels is None and not pictures:
            grey = image.mode == "L"
        pixels = np.asarray(_fitted(image, grey, (width or image.width, height or image.height), said))
        if pictures and pixels.shape != pictures[0].shape:
            raise BadInput(
                f"{file.name} is {image.width} by {image.height} pixels, and the first is {pictures[0].shape[1]} by "
                f"{pictures[0].shape[0]}: make them equal."
            )
        if len(files) * pixels.size > MOST_NUMBERS:
            raise BadInput(f"{len(files):,} pictures of {image.width}x{image.height} are too many; give fewer.")
        border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        if grey and not invert and np.median(border) > 127:
            said["Dark on light, and a model trained on MNIST reads light on dark: pass invert=True"] += 1
        pictures.append(255 - pixels if invert else pixels)
    if invert:
        said["Inverted"] = len(files)
    notes += [f"{what}{f' ({count} of {len(files)} pictures)' * (len(files) > 1)}." for what, count in said.items()]
    values = np.stack(pictures)
    if axes == "flat":
        values = values.reshape(len(values), -1)
    elif grey and len(axes) == 3:
        values = np.expand_dims(values, 1 + axes.index("C"))
    elif axes == "CHW":
        values = values.transpose(0, 3, 1, 2)
    if not path.is_dir():
        return values, None, (path.name,)
    classes = np.array([file.parent.name for file in files]) if files[0].parent != path else None
    return values, classes, tuple(str(file.relative_to(path)) for file in files)


def _fitted(image: Image.Image, grey: bool, size: tuple[int, int], said: Counter[str]) -> Image.Image:
    """A picture in the model's colours and size (width, height)."""
    from PIL import Image

    if image.mode != ("L" if grey else "RGB"):
        said["Made grey" if grey else "Given three equal colours, for grey pictures have none"] += 1
        image = image.convert("L" if grey else "RGB")
    if image.size == size:
        return image
    # By more than a pixel.
    stretched = abs(image.width * size[1] - image.height * size[0]) > max(image.size)
    said[f"Resized to {size[0]}x{size[1]}{', the proportions changed' if stretched else ''}"] += 1
    # As Keras resizes; Pillow's averages over all it leaves out.
    return image.resize(size, Image.Resampling.BILINEAR)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
    found = found or sorted(file for file in path.glob("*/*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not found:
        raise BadInput("The folder holds no pictures (.png, .jpg).")
    return found


def _wanted(row: Sequence[int | str | None] | None) -> tuple[int | None, int | None, int | None, str]:
    """(height, width, channels, order of axes) of a row; None where any will do."""
    if row is None:
        return None, None, None, ""
    dims = [dim if isinstance(dim, int) and dim > 0 else None for dim in row]
    if len(dims) == 1 and dims[0] is not None and (side := math.isqrt(dims[0])) ** 2 == dims[0] >= 16:
        return side, side, 1, "flat"
    if len(dims) == 2:
        return dims[0], dims[1], 1, "HW"
    if len(dims) == 3 and dims[2] in (1, 3):
        return dims[0], dims[1], dims[2], "HWC"
    if len(dims) == 3 and dims[0] in (1, 3):
        return dims[1], dims[2], dims[0], "CHW"
    takes = ", ".join("any" if dim is None else str(dim) for dim in dims)
    raise BadInput(f"The model takes rows of shape ({takes}), which is no picture: give it a table or an array.")


def _decoded(file: Path, said: Counter[str]) -> Image.Image:
    """A picture as 8 bits of grey or of red, green and blue."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image: Image.Image = Image.open(file, formats=("PNG", "JPEG"))
            image.load()
            upright = ImageOps.exif_transpose(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        most = Image.MAX_IMAGE_PIXELS or 0
        raise UnreadableFile(f"{file} has more than {most // 10**6} million pixels: make it smaller.") from None
    except Exception as error:  # PIL raises a dozen kinds on a damaged file, SyntaxError among them
        if isinstance(error, UnidentifiedImageError):
            raise UnreadableFile(f"{file} is no PNG or JPEG picture, whatever its name says.") from None
        reason = first_line(error)
        raise UnreadableFile(f"{file} is a damaged picture: {reason}.") from None
    if image.getexif().get(_ORIENTATION, 1) != 1:
        said["Turned upright, as the camera noted"] += 1
    image = upright
    if image.mode.startswith("I"):
        said["Brought from 16 bits to 8"] += 1
        return Image.fromarray((np.asarray(image).astype(np.float64) / 257).round().clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        if np.asarray(layered)[..., 3].min() < 255:
            said["Laid on white, where transparent"] += 1
        flat = Image.new("RGBA", layered.size, "white")
        flat.alpha_composite(layered)
        return flat.convert("L" if image.mode in ("LA", "L", "1") else "RGB")
    return image if image.mode in ("L", "RGB") else image.convert("L" if image.mode == "1" else "RGB")


_ORIENTATION = 0x0112
