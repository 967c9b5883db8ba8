"""Finding the data sets of tensorflow-datasets on disk, and preparing those that are absent."""

import contextlib
import difflib
import importlib.util
import io
import os
import re
import threading
from typing import Any

_PROBE = "https://storage.googleapis.com"  # where tensorflow-datasets keeps files of its own
_PROBE_SECONDS = 10.0
_NAME = re.compile(r"\w+(/[\w.+-]+)?(:\d+\.\d+\.\d+)?")
Path = str | os.PathLike[str]


class DataNotFoundError(ValueError):
    """A known data set is not on this machine, or could not be prepared."""


def is_dataset_name(source: str) -> bool:
    """Whether `source` has the form NAME, NAME/CONFIG or NAME:VERSION."""
    return _NAME.fullmatch(source) is not None


def find_builder(name: str, data_dir: Path | None = None) -> Any | None:
    """The read-only builder of a prepared set, None where it is not on disk.

    Only files are looked at: neither the network nor the set's own code, which may need
    TensorFlow, is touched.
    """
    from tensorflow_datasets.core import read_only_builder, registered

    with contextlib.suppress(registered.DatasetNotFoundError, ImportError), _quiet():
        return read_only_builder.builder_from_files(name, data_dir=_folder(data_dir))
    return None


def missing(name: str, data_dir: Path | None = None) -> ValueError:
    """The error for a set that is not on disk: unknown, or known and absent."""
    import tensorflow_datasets as tfds

    known = sorted(set(tfds.list_builders(with_community_datasets=False)))
    plain = re.split("[/:]", name)[0]
    if plain not in known:
        close = difflib.get_close_matches(plain, known, n=3)
        return ValueError(
            f"Nothing is known as {name!r}: "
            + (f"close names are {', '.join(close)}. " if close else "no name is close. ")
            + 'Allowed are "digits", the image and tabular sets of tensorflow-datasets (some are '
            "known only where TensorFlow is installed), and files: .npy, .npz, .safetensors, .csv "
            "and .parquet."
        )
    return DataNotFoundError(
        f"The data set {name!r} is not prepared in {_folder(data_dir)}. Run, once: "
        f"{command(name, data_dir)} or pass download=True. {requirements(name)} "
        "If you have it elsewhere, pass data_dir or set TFDS_DATA_DIR."
    )


def command(name: str, data_dir: Path | None = None) -> str:
    """The command line that prepares a set."""
    return f"python scripts/prepare_data.py {name} --data-dir {_folder(data_dir)}"


def requirements(name: str) -> str:
    """What preparing a set needs, in a sentence or two."""
    builder, error = _source_builder(name, None)
    text = "Preparing needs a network connection"
    if _needs_tensorflow(builder, error):
        text += " and, this once, TensorFlow (pip install tensorflow)"
    size = 0 if builder is None else builder.info.download_size + builder.info.dataset_size
    return f"{text}; it takes {size} on disk." if size else f"{text}."


def prepare(name: str, data_dir: Path | None = None) -> str:
    """Downloads and prepares a set so that it can be read without TensorFlow.

    Args:
        name: a tensorflow-datasets name, such as "fashion_mnist".
        data_dir: where sets are kept; else `TFDS_DATA_DIR`, else ~/tensorflow_datasets.

    Returns:
        The folder that the set was written to, or already lay in.

    Raises:
        DataNotFoundError: the network or TensorFlow is missing, or preparing failed.
        ValueError: unknown name.

    >>> prepare("mnits")
    Traceback (most recent call last):
    ...
    ValueError: Nothing is known as 'mnits': close names are mnist, kmnist, emnist. Allowed ...
    """
    present = find_builder(name, data_dir) if is_dataset_name(name) else None
    if present is not None:
        return os.fspath(present.data_path)
    builder, error = _source_builder(name, data_dir)
    absent = missing(name, data_dir)
    if not isinstance(absent, DataNotFoundError):
        raise absent
    if _needs_tensorflow(builder, error) and importlib.util.find_spec("tensorflow") is None:
        raise DataNotFoundError(
            f"Preparing {name!r} needs TensorFlow, which is not installed: pip install tensorflow. "
            "Only preparing needs it; afterwards the data is read without it."
        )
    if builder is None:
        raise DataNotFoundError(f"Preparing {name!r} failed: {_first_line(error)}")
    if not _is_online():
        raise DataNotFoundError(
            f"Preparing {name!r} needs a network connection, and {_PROBE} can not be reached from "
            "here. Prepare the set on a machine that is connected, and copy its folder."
        )
    return _download(builder, name)


def _download(builder: Any, name: str) -> str:
    import tensorflow_datasets as tfds

    config = tfds.download.DownloadConfig(try_download_gcs=False)
    try:
        builder.download_and_prepare(file_format="array_record", download_config=config)
    except Exception as error:  # whatever a data set's own code may raise
        raise DataNotFoundError(
            f"Preparing {name!r} failed: {_first_line(error)} If the network broke, run it again: "
            "complete downloads are kept."
        ) from error
    return os.fspath(builder.data_path)


def _folder(data_dir: Path | None) -> str:
    """Where sets are kept; asked anew each time, as tensorflow-datasets asks once, on import."""
    chosen = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return os.path.expanduser(chosen)


def _source_builder(name: str, data_dir: Path | None) -> tuple[Any | None, Exception | None]:
    """The builder made from a set's own code, or the error that its making raised."""
    import tensorflow_datasets as tfds

    try:
        with _quiet():
            return tfds.builder(name, data_dir=_folder(data_dir), try_gcs=False), None
    except Exception as error:  # whatever a data set's own code may raise
        return None, error


def _needs_tensorflow(builder: Any | None, error: Exception | None) -> bool:
    """Whether a set's code needs TensorFlow: it failed for want of it, or encodes media."""
    if builder is None:
        return isinstance(error, ImportError) and "tensorflow" in str(error)
    return any(kind in str(builder.info.features) for kind in ("Image(", "Video(", "Audio("))


def _is_online() -> bool:
    """Whether the network answers; a daemon thread bounds slow name resolution, too."""
    answers: list[int] = []

    def probe() -> None:
        import requests

        with contextlib.suppress(requests.RequestException):
            answers.append(requests.head(_PROBE, timeout=_PROBE_SECONDS / 2).status_code)

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(_PROBE_SECONDS)
    return bool(answers)


@contextlib.contextmanager
def _quiet() -> Any:
    """Swallows the banner that tensorflow-datasets prints where TensorFlow is missing."""
    from absl import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)


def _first_line(error: BaseException | None) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:300]}."
