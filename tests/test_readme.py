"""What the README shows works as shown."""

import re
from pathlib import Path

import jaxae

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_examples_run_and_leave_what_they_say(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    first, second = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict = {}
    exec(first, names)
    assert names["z"].shape == (360, 16)
    assert names["x_hat"].shape == (360, 8, 8, 1)
    assert (tmp_path / "digits.png").stat().st_size > 1000
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("model", "PCA-16", "mean", "raw input"))
    exec(second, names)
    assert names["result"].stopped in ("finished", "early")
    assert (tmp_path / "runs" / "mine" / "metrics.jsonl").exists()


def test_the_first_example_is_about_twenty_lines():
    first = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0]
    lines = [line for line in first.splitlines() if line.strip()]
    assert len(lines) <= 24


def test_every_variant_is_in_the_table_and_every_name_in_the_table_exists():
    table = README.split("## Variants")[1].split("| part |")[0]
    named = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    from jaxae.models import variants

    public = [
        n for n, f in vars(variants).items() if getattr(f, "__module__", "") == variants.__name__
    ]
    assert sorted(named) == sorted(public)
    assert all(callable(getattr(jaxae, name)) for name in named)


def test_the_test_command_is_the_one_that_continuous_integration_runs():
    command = re.findall(r"```sh\n(pip install.*?)\n```", README)[0]
    steps = [step.strip() for step in command.split("&&")]
    checks = (ROOT / ".ci" / "run").read_text()
    assert all(
        step.replace("pip install", "pip install -q") in checks or step in checks for step in steps
    )
