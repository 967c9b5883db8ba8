"""What tests of scripts share: a folder with a few digits to work in, and small figures."""

import numpy as np
import pytest

import jaxae
import reports
import sweep_reports


@pytest.fixture(scope="session")
def few_digits():
    return jaxae.load("digits", "train[:200]")


@pytest.fixture(autouse=True)
def _in_a_folder_with_a_few_digits(tmp_path, monkeypatch, few_digits):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reports, "DPI", 20)
    monkeypatch.setattr(sweep_reports, "DPI", 20)
    np.savez("digits.npz", **few_digits)
