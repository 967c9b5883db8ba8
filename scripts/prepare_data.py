"""Prepares a data set of tensorflow-datasets, once, so that jaxae reads it without TensorFlow."""

import sys
from pathlib import Path
from typing import Annotated

import tyro

from jaxae.data.preparing import find_builder, is_dataset_name, prepare, requirements


def main(name: Annotated[str, tyro.conf.Positional], data_dir: Path | None = None) -> None:
    """Download a data set of tensorflow-datasets and store it for jaxae.

    Preparing needs a network connection and, for images, TensorFlow; reading needs neither.

    Args:
        name: Such as mnist, fashion_mnist or cifar10; NAME/CONFIG where a set has several.
        data_dir: Where sets are kept; else TFDS_DATA_DIR, else ~/tensorflow_datasets.
    """
    try:
        present = find_builder(name, data_dir) if is_dataset_name(name) else None
        if present is None:
            print(requirements(name), flush=True)
        folder = prepare(name, data_dir)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    print(f"{name} {'lies' if present is not None else 'now lies'} in {folder}. Use it with")
    where = f", data_dir={str(data_dir)!r}" if data_dir is not None else ""
    print(f'    jaxae.data.load("{name}", "train"{where})')


if __name__ == "__main__":
    tyro.cli(main)
