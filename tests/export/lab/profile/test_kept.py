"""Shares that a study keeps."""

import json
from pathlib import Path

import pytest
from lab_subjects import scaled
from made_up_profiles import profile

from export import provenance
from export.lab.profile.kept import Kept, KeptFile
from export.lab.setting import Setting


def test_what_is_kept_of_a_profile() -> None:
    kept = Kept.of(profile())
    assert kept.shares["convolution"] == pytest.approx(4 / 10.5)
    assert (kept.total_ms, kept.latency_ms, kept.profiled_ms, kept.runs) == (10.5, 12.0, 13.0, 7)


def test_nothing_is_profiled_twice_on_one_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, kept, subject = tmp_path / "new" / "x.jsonl", Kept.of(profile()), scaled()
    first = KeptFile(path)
    assert first.get(subject, Setting(), "xla") is None
    first.put(subject, Setting(), "xla", kept)
    assert first.get(subject, Setting(), "xla") == kept == KeptFile(path).get(subject, Setting(), "xla")
    again = KeptFile(path)
    assert again.get(subject, Setting(batch=2), "xla") is None
    assert again.get(subject, Setting(), "onnxruntime") is None
    assert again.get(scaled(size=16), Setting(), "xla") is None
    monkeypatch.setattr(provenance, "machine", lambda: {"processor": "another"})
    assert KeptFile(path).get(subject, Setting(), "xla") is None
    assert KeptFile(path, anywhere=True).get(subject, Setting(), "xla") == kept


@pytest.mark.parametrize("line", ["{", "[]", json.dumps({"of": "x", "machine": {}, "profile": {"ms": 1}})])
def test_other_lines_are_an_error_with_their_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(ValueError, match=r"x\.jsonl, line 1: not a kept profile"):
        KeptFile(path)
