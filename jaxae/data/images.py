"""Images from folders of PNG and JPEG files."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

SUFFIXES = (".png", ".jpg", ".jpeg")
MODES = {"L": 1, "RGB": 3}
_FEW = 3


def load_images(
    folder: str | os.PathLike[str], size: tuple[int, int] | None = None, mode: str | None = None
) -> dict[str, np.ndarray]:
    """Reads all PNG and JPEG files of a folder, with labels from the names of subfolders.

    Files are taken in the order of their paths. Where the folder has subfolders with images,
    each is a class, and their sorted names become 0, 1, ... Images are turned upright as
    their files say; transparency is dropped.

    Args:
        folder: with the files, or with a subfolder of files for each class.
        size: `(height, width)` in pixels to which all are resized (Lanczos); by default they
            must all be of one size.
        mode: "L" for grey, "RGB" for colour; by default grey where all files are.

    Returns:
        "x", uint8 `(n, height, width, channels)`, and of subfolders "y", int32 `(n,)`.

    Raises:
        ValueError: no such folder, no images or images both in it and in its subfolders,
            different sizes, an unknown mode or size, or a damaged file.

    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("cats/1.png", "dogs/1.png", "dogs/2.png"):
    ...         path = Path(folder, name)
    ...         path.parent.mkdir(exist_ok=True)
    ...         Image.new("RGB", (6, 4)).save(path)
    ...     data = load_images(folder)
    >>> data["x"].shape, data["x"].dtype.name, data["y"].tolist()
    ((3, 4, 6, 3), 'uint8', [0, 1, 1])
    """
    if mode is not None and mode not in MODES:
        raise ValueError(f"mode is 'L' for grey, 'RGB' for colour, or None; got {mode!r}.")
    if size is not None and not (
        len(size) == 2 and all(isinstance(n, int | np.integer) and n > 0 for n in size)
    ):
        raise ValueError(f"size is (height, width) in pixels; got {size!r}.")
    files, labels = _find(Path(folder).expanduser())
    mode = _common_mode(files) if mode is None else mode
    x = _read(files, size, mode)
    return {"x": x} if labels is None else {"x": x, "y": labels}


def is_image_folder(path: Path) -> bool:
    """Whether a folder holds images, or subfolders that do."""
    return path.is_dir() and any(_images(place) for place in (path, *_folders(path)))


def _folders(path: Path) -> list[Path]:
    hidden = lambda name: name.startswith((".", "__"))  # noqa: E731
    return sorted(p for p in path.iterdir() if p.is_dir() and not hidden(p.name))


def _images(path: Path) -> list[Path]:
    return sorted(
        p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")
    )


def _find(folder: Path) -> tuple[list[Path], np.ndarray | None]:
    """The files in order, and their classes, if there are any."""
    if not folder.is_dir():
        raise ValueError(f"There is no folder {folder} (looked in {Path.cwd()}); check the path.")
    own = _images(folder)
    classes = [files for place in _folders(folder) if (files := _images(place))]
    if own and classes:
        raise ValueError(
            f"{folder} has images of its own, such as {own[0].name}, and subfolders with images, "
            "which would be classes. Move the ones or the others away."
        )
    if not own and not classes:
        raise ValueError(
            f"{folder} has no images: no file in it or its subfolders ends in {SUFFIXES}."
        )
    if own:
        return own, None
    counts = [len(files) for files in classes]
    labels = np.repeat(np.arange(len(classes), dtype=np.int32), counts)
    return [file for files in classes for file in files], labels


def _common_mode(files: Sequence[Path]) -> str:
    """Grey where all files are, else colour; only their headers are read."""
    for file in files:
        with _opened(file) as image:
            if image.mode not in ("1", "L", "LA", "I;16", "I", "F"):
                return "RGB"
    return "L"


def _read(files: Sequence[Path], size: tuple[int, int] | None, mode: str) -> np.ndarray:
    x: np.ndarray | None = None
    shapes: dict[tuple[int, ...], list[str]] = {}
    for i, file in enumerate(files):
        pixels = _pixels(file, size, mode)
        if x is None:
            x = np.empty((len(files), *pixels.shape), np.uint8)
        shapes.setdefault(pixels.shape[:2], []).append(file.name)
        if len(shapes) == 1:
            x[i] = pixels
        elif len(shapes) > _FEW:
            break
    if x is None or len(shapes) > 1:
        examples = ", ".join(f"{names[0]} {h} x {w}" for (h, w), names in shapes.items())
        raise ValueError(
            f"Images of {files[0].parent} differ in size (height x width): {examples}. Give "
            "size=(height, width), to which all are then resized."
        )
    return x


def _pixels(file: Path, size: tuple[int, int] | None, mode: str) -> np.ndarray:
    """The pixels of one file, `(height, width, channels)` uint8."""
    from PIL import Image, ImageOps

    with _opened(file) as image:
        try:
            image = ImageOps.exif_transpose(image)
            if image.mode in ("I;16", "I", "F"):  # of 16 bits, which Pillow would clip
                image = Image.fromarray((np.asarray(image) / 257.0).round().astype(np.uint8))
            image = image.convert(mode)
            if size is not None:
                image = image.resize((size[1], size[0]), Image.Resampling.LANCZOS)
            return np.asarray(image).reshape(image.height, image.width, MODES[mode])
        except (OSError, SyntaxError, ValueError) as error:
            raise ValueError(_damaged(file, error)) from error


def _opened(file: Path) -> Any:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise ValueError("Reading images needs Pillow: pip install pillow.") from error
    try:
        return Image.open(file, formats=("PNG", "JPEG"))
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(_damaged(file, error)) from error


def _damaged(file: Path, error: Exception) -> str:
    return f"{file} is damaged, or no PNG or JPEG file: {error}. Remove or replace it."
