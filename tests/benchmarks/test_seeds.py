import json

import pytest

from benchmarks import seeds


def test_what_both_find_is_at_most_what_either_finds(capsys: pytest.CaptureFixture[str]) -> None:
    assert seeds.main(["40"]) in (0, 1)
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["settings"]
    assert [setting["deviation"] for setting in found] == list(seeds.DEVIATIONS)
    assert all(s["both"] <= min(s["by_speakers"], s["over_seeds"]) for s in found)
    assert found[-1]["by_speakers"] > 0.2, "a point from seed to seed is nothing that the dagger's test knows of"
