"""The measurement of a GPU's pace, run very small on a processor."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.gpu_hubert import BLOCKS, TINY, Arm, arms, document, lines, main


@pytest.fixture(autouse=True)
def _on_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)


def test_the_command_measures_with_the_teacher_and_without(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--tiny", "--json", str(tmp_path / "found.json")]) == 0
    *told, last = capsys.readouterr().out.splitlines()
    found = json.loads(last)
    assert json.loads((tmp_path / "found.json").read_text()) == found
    assert [(arm["precision"], arm["teacher"]) for arm in found["arms"]] == [
        ("bfloat16", True), ("bfloat16", False), ("float32", True), ("float32", False),
    ]  # fmt: skip
    assert all(len(arm["seconds"]) == BLOCKS and min(arm["seconds"]) > 0 for arm in found["arms"])
    assert all(arm["steps"] == TINY.steps and arm["gigabytes"] is None for arm in found["arms"])
    assert found["peaks"] == {"bfloat16": None, "float32": None}
    # What a cache gives is what the teacher says: the same steps, less its operations.
    for heard, given in (found["arms"][:2], found["arms"][2:]):
        assert given["loss"] == pytest.approx(heard["loss"], rel=1e-3)
        assert 0.5 * heard["flop"] < given["flop"] < heard["flop"]
    assert told[0].startswith("D&T of HuBERT with random weights, 2 clips of 0.5 s a step, on ")
    assert len(told) == 1 + 4 + 2


def test_on_a_slow_device_there_are_fewer_steps() -> None:
    size = replace(TINY, steps=400)
    assert {arm.steps for arm in arms(size, lambda _: None, limit=0.0)} == {BLOCKS}


def test_shares_are_of_the_peak_of_the_precision_that_steps_are_in() -> None:
    def arm(precision: str, autocast: bool, teacher: bool) -> Arm:
        return Arm(precision, teacher, autocast, 200, (0.1,) * 4, int(1e13 if teacher else 6e12), 40.0, 3.0)

    found = [arm(p, p == "bfloat16", teacher) for p in ("bfloat16", "float32") for teacher in (True, False)]
    _, first, _, third, *_, last = lines(TINY, found, "NVIDIA A100-SXM4-80GB")
    assert "bfloat16, with the teacher: 100.0 ms a step (100.0 to 100.0 in 4 parts of 50)" in first
    assert "10 TFLOP a step, 100 TFLOP/s, 32.1 % of 312 TFLOP/s, 40.0 GB at most" in first
    assert "512.8 % of 19.5 TFLOP/s" in third
    assert last == "In float32 convolutions are in TF32, whose peak is higher than the one named here."
    assert document(TINY, found)["teachers_share"] == {"bfloat16": 0.0, "float32": 0.0}
    (lacking,) = [line for line in lines(TINY, [arm("bfloat16", False, True), *found[1:]], "A100") if "lacks" in line]
    assert lacking.startswith("bfloat16 (float32, for the device lacks it), with the teacher")
    assert "512.8 % of 19.5" in lacking


def test_it_needs_few_packages() -> None:
    """The machine that runs it may have no more than PyTorch and transformers; nothing is scheduled or recorded."""
    heavy = ("ray", "mlflow", "datasets", "pandas", "matplotlib", "tyro", "rich")
    asked = f"import sys, benchmarks.gpu_hubert; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, timeout=120)
    assert found.stdout.strip() == "[]"


def test_without_a_gpu_nothing_of_full_size_is_begun(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().err == (
        "A GPU must be there for models of full size, but there is none; --tiny needs none.\n"
    )
