"""Named data sets: scikit-learn's digits and those of tensorflow-datasets, without TensorFlow."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jaxae.data.arrays import aligned_empty
from jaxae.data.checks import check_data
from jaxae.data.preparing import find_builder, missing, prepare
from jaxae.data.records import image_decoder, read_records
from jaxae.data.slicing import bad_split, resolve

Path = str | os.PathLike[str]


def load_digits(split: str) -> dict[str, np.ndarray]:
    """Scikit-learn's 1,797 digits of 8 x 8 pixels, which need no download.

    Returns:
        "x": float32 `(examples, 8, 8, 1)` in [0, 1]; "y": int32, the digit. "train" is a
        fixed, stratified 80 %, "test" the rest, "all" both in the original order.
    """
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    digits = datasets.load_digits()
    images, target = np.asarray(digits.images), np.asarray(digits.target)
    everything = np.arange(len(target))
    train, test = train_test_split(everything, test_size=0.2, stratify=target, random_state=0)
    parts: dict[str, np.ndarray] = {"train": train, "test": test, "all": everything}
    name, chosen = resolve(split, {name: len(rows) for name, rows in parts.items()})
    rows = parts[name][chosen]
    x = aligned_empty((len(rows), 8, 8, 1), np.float32)
    x[..., 0] = images[rows] / 16.0
    return {"x": x, "y": target[rows].astype(np.int32)}


def load_dataset(
    name: str,
    split: str,
    data_dir: Path | None = None,
    label: str | None = None,
    download: bool = False,
) -> dict[str, np.ndarray]:
    """Reads one split of a set that tensorflow-datasets has prepared.

    Images stay uint8 `(examples, height, width, channels)`. Of other sets every number is
    a float32 column, features sorted by name (nested ones by their path); a single
    array-valued feature keeps its shape.

    Args:
        name: such as "mnist", "mnist:3.0.1" or "cifar10_1/v4".
        split: see `resolve`; also what tensorflow-datasets takes besides, as "train+test".
        data_dir: where sets are kept; else `TFDS_DATA_DIR`, else ~/tensorflow_datasets.
        label: the feature that becomes "y"; else the set's own label, if it has one.
        download: whether to prepare an absent set, which needs a network.

    Raises:
        DataNotFoundError: the set is not prepared, and `download` is False or fails.
        ValueError: unknown name, bad split, text features, images of varying size, or
            damaged files.
    """
    builder = find_builder(name, data_dir)
    if builder is None:
        if not download:
            raise missing(name, data_dir)
        prepare(name, data_dir)
        builder = find_builder(name, data_dir)
        if builder is None:
            raise missing(name, data_dir)
    info = builder.info
    count, instructions = _select(info.splits, split)
    records = read_records(instructions, info.file_format.value)
    features = _flatten(info.features)
    label = _label_name(info, features, label)
    image = _image_name(features, label)
    if image is not None:
        data = _read_images(records, count, features, image, label)
    else:
        data = _read_table(records, count, info.features, features, label)
    return check_data(data)


def _select(splits: Mapping[str, Any], split: str) -> tuple[int, list[Any]]:
    """The number of rows and the file instructions of a split, by tensorflow-datasets' rules."""
    sizes = {name: part.num_examples for name, part in splits.items()}
    try:
        chosen = splits[split]
        count, instructions = chosen.num_examples, chosen.file_instructions
    # what its parser raises differs by the mistake; all mean that it cannot read this split
    except (ValueError, KeyError, TypeError, AttributeError, NotImplementedError) as error:
        raise bad_split(split, sizes) from error
    if count <= 0:
        raise bad_split(split, sizes)
    return count, instructions


def _flatten(features: Any, prefix: str = "") -> dict[str, Any]:
    """All features by path ("a/b" for nested dicts), sorted."""
    flat = {}
    for key, feature in features.items():
        if isinstance(feature, Mapping):
            flat.update(_flatten(feature, f"{prefix}{key}/"))
        else:
            flat[f"{prefix}{key}"] = feature
    return dict(sorted(flat.items()))


def _label_name(info: Any, features: Mapping[str, Any], label: str | None) -> str | None:
    if label is not None:
        if label not in features:
            raise ValueError(f"The set has no feature {label!r} for y; it has {list(features)}.")
        return label
    keys = info.supervised_keys
    if isinstance(keys, tuple) and isinstance(keys[-1], str) and keys[-1] in features:
        named = features[keys[-1]]
        if keys[-1] != keys[0] and named.shape == () and _kind(named) in "biuf":
            return keys[-1]
    return "label" if "label" in features else None


def _kind(feature: Any) -> str:
    return np.dtype(feature.np_dtype).kind


def _image_name(features: Mapping[str, Any], label: str | None) -> str | None:
    """The one image feature, None where there is none."""
    import tensorflow_datasets as tfds

    images = [k for k, f in features.items() if isinstance(f, tfds.features.Image) and k != label]
    if not images:
        return None
    name = "image" if "image" in images else images[0]
    if len(images) > 1 and name != "image":
        raise ValueError(f"The set has several images, {images}; only sets with one are read.")
    if None in features[name].shape:
        raise ValueError(
            f"The images of this set differ in size (shape {features[name].shape}). Crop or resize "
            "them to one size, and pass the array or an .npy file."
        )
    return name


def _read_images(
    records: Iterator[bytes], count: int, features: Mapping[str, Any], image: str, label: str | None
) -> dict[str, np.ndarray]:
    """Decodes images one by one into one array; threads only slow this down."""
    from tensorflow_datasets.proto import tf_example_pb2

    decode = image_decoder(features[image])
    x = aligned_empty((count, *features[image].shape), features[image].np_dtype)
    y = None if label is None else np.empty(count, features[label].np_dtype)
    for i, record in enumerate(records):
        fields = tf_example_pb2.Example.FromString(record).features.feature
        x[i] = decode(fields[image].bytes_list.value[0])
        if y is not None:
            field = fields[label]
            y[i] = (field.int64_list.value or field.float_list.value or field.bytes_list.value)[0]
    return {"x": x} if y is None else {"x": x, "y": y}


def _read_table(
    records: Iterator[bytes],
    count: int,
    tree: Any,
    features: Mapping[str, Any],
    label: str | None,
) -> dict[str, np.ndarray]:
    columns = {name: feature for name, feature in features.items() if name != label}
    unfit = [
        name
        for name, feature in columns.items()
        if _kind(feature) not in "biuf" or None in feature.shape
    ]
    if unfit or not columns:
        raise ValueError(
            f"The features {unfit} of this set are text or vary in length; only images and "
            f"numbers are read. All features: {list(features)}. Choose the label with label=NAME."
        )
    values: dict[str, list[Any]] = {name: [] for name in features}
    for record in records:
        example = tree.deserialize_example_np(record)
        for name, column in values.items():
            value = example
            for key in name.split("/"):
                value = value[key]
            column.append(value)
    arrays = [np.asarray(values[name], columns[name].np_dtype) for name in columns]
    if len(arrays) == 1 and arrays[0].ndim > 1:
        x = arrays[0]
    else:
        x = np.concatenate([a.reshape(count, -1).astype(np.float64) for a in arrays], axis=1)
    return {"x": x} if label is None else {"x": x, "y": np.asarray(values[label])}
