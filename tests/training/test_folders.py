"""A run's folder: never overwritten, resumed only with its own configuration."""

import json

import pytest

from jaxae.training.folders import keep_rows, open_folder, read_config, read_rows, write_text

CONFIG = {"seed": 0, "dims": [8, 2], "corruption": {"kind": "masking", "level": 0.3}, "name": None}
ROWS = [{"epoch": i, "seconds": 0.5, "loss": 1 / (3 + i)} for i in range(1, 5)]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs" / "first"


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_new_folder_holds_the_configuration_and_the_versions(folder):
    open_folder(folder, CONFIG, resume=False)
    assert [path.name for path in folder.iterdir()] == ["config.json"]
    assert read_config(folder) == CONFIG
    assert set(json.loads((folder / "config.json").read_text())["versions"]) == {"jax", "numpy"}


def test_an_empty_folder_is_accepted(folder):
    folder.mkdir(parents=True)
    open_folder(folder, CONFIG, resume=False)
    assert read_config(folder) == CONFIG


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "thesis.tex", ".hidden"])
def test_a_folder_with_anything_in_it_is_not_overwritten(name, folder):
    folder.mkdir(parents=True)
    (folder / name).write_text('{"config": {}}')
    before = contents(folder)
    with pytest.raises(ValueError, match="exists already and is not overwritten: resume it"):
        open_folder(folder, CONFIG, resume=False)
    assert contents(folder) == before


def test_resume_without_a_folder_is_an_error_and_makes_none(folder):
    with pytest.raises(ValueError, match=r"no run to resume in .*first; start it without resume"):
        open_folder(folder, CONFIG, resume=True)
    assert not folder.parent.exists()


def test_resume_in_a_folder_of_something_else_is_an_error(folder):
    folder.mkdir(parents=True)
    (folder / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match="no run to resume"):
        open_folder(folder, CONFIG, resume=True)
    assert list(contents(folder)) == ["thesis.tex"]


@pytest.mark.parametrize("part", [None, '{"config": {"se'])
def test_resume_of_a_run_killed_before_its_configuration_was_written_starts_it(part, folder):
    folder.mkdir(parents=True)
    if part:
        (folder / "config.json.part").write_text(part)
    open_folder(folder, CONFIG, resume=True)
    assert read_config(folder) == CONFIG
    assert list(contents(folder)) == ["config.json"]


def test_resume_with_the_same_configuration_changes_nothing(folder):
    open_folder(folder, CONFIG, resume=False)
    before = contents(folder)
    open_folder(folder, dict(reversed(CONFIG.items())), resume=True)
    assert contents(folder) == before


def test_resume_with_another_configuration_lists_exactly_the_differing_entries(folder):
    open_folder(folder, CONFIG, resume=False)
    before = contents(folder)
    corruption = {"kind": "masking", "level": 0.4}
    other = {"seed": 0, "dims": [8, 2], "corruption": corruption, "beta": 2.0}
    with pytest.raises(ValueError, match="started with another configuration") as error:
        open_folder(folder, other, resume=True)
    assert str(error.value).splitlines()[1:] == [
        "  beta: it has '(absent)', now given 2.0",
        f"  corruption: it has {CONFIG['corruption']}, now given {corruption}",
        "  name: it has None, now given '(absent)'",
    ]
    assert contents(folder) == before


def test_read_config_where_there_is_no_run_says_so(tmp_path):
    with pytest.raises(ValueError, match="holds no run"):
        read_config(tmp_path)


def test_rows_come_back_as_they_were_written(log):
    assert read_rows(log) == read_rows(str(log)) == ROWS


def test_no_file_has_no_rows(tmp_path):
    assert read_rows(tmp_path / "metrics.jsonl") == []
    assert keep_rows(tmp_path / "metrics.jsonl", 0) == []


def test_a_last_line_cut_anywhere_is_left_out(log):
    text = log.read_text()
    start = text.rindex("\n", 0, -1) + 1
    for end in range(start, len(text) - 1):
        log.write_text(text[:end])
        assert read_rows(log) == ROWS[:3]
    log.write_text(text[:-1])  # only its end of line is missing
    assert read_rows(log) == ROWS


@pytest.mark.parametrize("cut", [0, 1, 5])
def test_keep_rows_cuts_the_file_to_whole_lines(cut, log):
    log.write_text(log.read_text()[: len(log.read_text()) - cut])
    assert keep_rows(log, 3) == ROWS[:3]
    assert log.read_text() == "".join(json.dumps(row) + "\n" for row in ROWS[:3])


def test_fewer_rows_than_epochs_is_an_error_and_leaves_the_file(log):
    before = log.read_bytes()
    with pytest.raises(ValueError, match="has 4 rows, the checkpoint 5 epochs"):
        keep_rows(log, 5)
    assert log.read_bytes() == before


def test_write_text_replaces_the_file_and_leaves_no_part(tmp_path):
    for text in ("old", "new"):
        write_text(tmp_path / "a.json", text)
    assert contents(tmp_path) == {"a.json": b"new"}


def test_a_write_that_fails_leaves_the_old_text(tmp_path):
    write_text(tmp_path / "a.json", "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "a.json", "new \ud800")
    assert (tmp_path / "a.json").read_text() == "old"
