import numpy as np
import pytest
from PIL import Image

from jaxae.data import load
from jaxae.data.images import load_images

RNG = np.random.default_rng(0)


def save(path, shape=(4, 6, 3), **options):
    """A random image in a file, and its pixels."""
    pixels = RNG.integers(0, 256, shape, dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return pixels


def test_pixels_come_as_they_were_saved_in_the_order_of_names(tmp_path):
    saved = {name: save(tmp_path / name) for name in ("b.png", "a.PNG", "c.png")}
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "._b.png").write_bytes(b"left by another system")
    data = load_images(tmp_path)
    assert list(data) == ["x"]
    assert data["x"].dtype == np.uint8
    np.testing.assert_array_equal(data["x"], [saved[name] for name in ("a.PNG", "b.png", "c.png")])


def test_subfolders_are_classes_by_sorted_name(tmp_path):
    saved = [save(tmp_path / name, (5, 5)) for name in ("cat/2.png", "cat/9.png", "dog/1.png")]
    (tmp_path / ".cache").mkdir()
    data = load_images(str(tmp_path))
    np.testing.assert_array_equal(data["x"][..., 0], saved)
    assert data["y"].dtype == np.int32
    assert data["y"].tolist() == [0, 0, 1]


def test_grey_and_colour_are_told_from_the_files(tmp_path):
    grey = save(tmp_path / "1.png", (4, 6))
    assert load_images(tmp_path)["x"].shape == (1, 4, 6, 1)
    save(tmp_path / "2.png", (4, 6, 4))  # with transparency
    x = load_images(tmp_path)["x"]
    assert x.shape == (2, 4, 6, 3)
    np.testing.assert_array_equal(x[0], np.repeat(grey[..., None], 3, axis=2))
    assert load_images(tmp_path, mode="L")["x"].shape == (2, 4, 6, 1)


def test_sixteen_bits_are_scaled_to_eight(tmp_path):
    deep = RNG.integers(0, 2**16, (4, 6)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "1.png")
    x = load_images(tmp_path)["x"][0, ..., 0]
    np.testing.assert_array_equal(x, np.round(deep / 257))


def test_jpeg_files_are_near_what_was_saved_and_stand_upright(tmp_path):
    smooth = np.add.outer(np.arange(16) * 8, np.arange(24) * 4).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    Image.fromarray(smooth).save(tmp_path / "1.jpg", quality=95, exif=exif)
    x = load_images(tmp_path)["x"][0, ..., 0]
    assert x.shape == (24, 16)
    assert np.abs(np.float32(x) - np.rot90(smooth, -1)).max() < 8


def test_mixed_sizes_are_refused_by_name_unless_resized(tmp_path):
    save(tmp_path / "a.png", (4, 6, 3))
    save(tmp_path / "b.png", (5, 6, 3))
    with pytest.raises(ValueError, match=r"a.png 4 x 6, b.png 5 x 6.*size=\(height, width\)"):
        load_images(tmp_path)
    assert load_images(tmp_path, size=(8, 5))["x"].shape == (2, 8, 5, 3)


def test_resizing_keeps_what_is_constant(tmp_path):
    Image.new("RGB", (7, 9), (10, 200, 30)).save(tmp_path / "a.png")
    x = load_images(tmp_path, size=(3, 4))["x"]
    np.testing.assert_array_equal(x, np.broadcast_to([10, 200, 30], (1, 3, 4, 3)))


@pytest.mark.parametrize("content", [b"", b"no image", "cut"])
def test_damaged_files_are_named(tmp_path, content):
    save(tmp_path / "a.png", (40, 60, 3))
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "b.png").write_bytes(whole[: len(whole) // 2] if content == "cut" else content)
    with pytest.raises(ValueError, match=r"b.png is damaged, or no PNG or JPEG file"):
        load_images(tmp_path)


def test_folders_that_cannot_be_read_and_options_that_cannot_be_are_refused(tmp_path):
    with pytest.raises(ValueError, match="There is no folder"):
        load_images(tmp_path / "none")
    with pytest.raises(ValueError, match="has no images"):
        load_images(tmp_path)
    save(tmp_path / "a.png")
    for options, message in (({"mode": "CMYK"}, "mode is 'L'"), ({"size": (3,)}, "size is")):
        with pytest.raises(ValueError, match=message):
            load_images(tmp_path, **options)
    save(tmp_path / "cats" / "b.png")
    with pytest.raises(ValueError, match=r"images of its own, such as a\.png, and subfolders"):
        load_images(tmp_path)


def test_load_takes_folders_of_images(tmp_path):
    saved = [save(tmp_path / name) for name in ("cat/1.png", "dog/1.png", "dog/2.png")]
    data = load(tmp_path, "train[1:]")
    np.testing.assert_array_equal(data["x"], saved[1:])
    assert data["y"].tolist() == [1, 1]
    assert load(str(tmp_path), "all")["x"].shape == (3, 4, 6, 3)
    with pytest.raises(ValueError, match="a folder with a subfolder for each class"):
        load(tmp_path, label="species")
