"""What the README shows works as shown."""

import inspect
import re
from pathlib import Path

import numpy as np

import jaxae
from jaxae import data, deploy, evaluation
from jaxae.models import (
    boltzmann,
    conditioning,
    ratings,
    sparse_variants,
    tabular,
    variants,
    variational,
)

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_examples_run_and_leave_what_they_say(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    first, swept = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict = {}
    exec(first, names)
    assert names["z"].shape == (360, 16)
    assert names["x_hat"].shape == (360, 8, 8, 1)
    assert (tmp_path / "digits.png").stat().st_size > 1000
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("model", "PCA-16", "mean", "raw input"))
    exec(swept, names)
    losses = np.asarray(names["history"]["loss"])
    assert losses.shape == (6, 5)
    assert (losses[:, -1] < losses[:, 0]).all()
    assert names["params"]["encoder"]["layer_0"]["kernel"].shape == (64, 64)


def test_the_first_example_is_about_twenty_lines():
    first = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0]
    lines = [line for line in first.splitlines() if line.strip()]
    assert len(lines) <= 24


def test_every_variant_is_in_the_table_and_every_name_in_the_table_exists():
    table = README.split("## Variants")[1].split("## Scripts")[0]
    firsts = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", table, re.MULTILINE)
    named = [name for first in firsts for name in re.findall(r"\w+", first)]
    public = [
        name
        for module in (variants, sparse_variants, variational, ratings)
        for name, value in vars(module).items()
        if getattr(value, "__module__", "") == module.__name__ and not name.startswith("_")
    ]
    public += [boltzmann.rbm.__name__, conditioning.conditional_vae.__name__]
    public += [tabular.table.__name__]
    for part in ("layered_prior", "balanced", "Balanced", "unit_length", "UnitLength"):
        public.remove(part)
    assert sorted(named) == sorted(public)
    assert all(callable(getattr(jaxae, name)) for name in named)


def test_every_part_that_the_models_name_exists():
    named = re.findall(
        r"`(bounds|codes|corruptions|likelihoods|penalties|priors|sparsity)\.(\w+)`"
        r"(?: \([^)]*\))?((?:,\s+`\w+`(?:\s+\([^)]*\))?)*)",
        jaxae.models.__doc__,
    )
    pairs = [
        (module, n) for module, first, more in named for n in (first, *re.findall(r"`(\w+)`", more))
    ]
    assert len(pairs) > 35
    for module, name in pairs:
        assert callable(getattr(getattr(jaxae, module), name)), name


def test_whatever_the_guides_name_exists():
    guides = [README, *(module.__doc__ for module in (data, deploy, evaluation, jaxae.training))]
    for guide in guides:
        for name in re.findall(r"`jaxae\.(\w+)[`(]", guide):
            assert hasattr(jaxae, name), name
    for module in (data, deploy, evaluation):
        for name in re.findall(r"`(\w+)`", module.__doc__):
            assert hasattr(module, name) or hasattr(jaxae, name), name


def test_the_options_in_the_table_are_those_of_the_variants():
    table = README.split("## Variants")[1].split("## Scripts")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\|([^|]*)\|$", table, re.MULTILINE))
    given = {name: set(re.findall(r"`(\w+)`", options)) for name, options in rows.items()}
    revived = {"k", "aux_k", "aux_coefficient", "dead_after"}
    assert given.pop("top_k") == revived
    assert given.pop("batch_top_k") == {"top_k"}
    assert given.pop("matryoshka") == {"top_k", "prefixes"}
    for name, options in given.items():
        known = set(inspect.signature(getattr(jaxae, name)).parameters)
        known -= {"shape", "columns", "latent_dim", "parts"}
        assert options == (known if name != "deep" else set())


def test_the_test_command_is_the_one_that_continuous_integration_runs():
    command = re.findall(r"```sh\n(pip install.*?)\n```", README)[0]
    steps = [step.strip() for step in command.split("&&")]
    checks = (ROOT / ".ci" / "run").read_text()
    assert all(
        step.replace("pip install", "pip install -q") in checks or step in checks for step in steps
    )
