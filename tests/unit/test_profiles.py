"""Profiles and rules agree on what a cluster is asked for; tests/slurm runs them on one."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def rules() -> dict[str, str]:
    """The text of every rule that is a job, by its name."""
    text = "\n".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    return dict(re.findall(r"^(?:rule|checkpoint) (\w+):((?:\n(?!\S).*)*)", text, re.MULTILINE))


def resource(body: str, name: str) -> str:
    found = re.search(rf"^        {name}=((?:.*\n?)(?:        [^ a-z].*\n)*)", body, re.MULTILINE)
    return found[1] if found else ""


def test_every_rule_asks_for_more_memory_and_time_at_each_attempt() -> None:
    assert len(rules()) > 10
    for name, body in rules().items():
        for asked in ("mem_mb", "runtime"):
            assert "attempt" in resource(body, asked), (name, asked)


def keys(profile: str) -> set[str]:
    return set(yaml.safe_load((ROOT / "profiles" / profile / "config.yaml").read_text()))


def test_profiles_share_no_key() -> None:
    """profiles/default is loaded beside any other and would win."""
    assert not keys("default") & keys("slurm")
    assert not keys("default") & keys("test")


def test_the_lines_to_edit_are_what_they_say() -> None:
    """Without their `#` they are valid, and the partition of GPUs is that of all rules that take
    one.
    """
    text = (ROOT / "profiles" / "slurm" / "config.yaml").read_text()
    edited = re.sub(r"^( *)#(?=[\w-]+: )", r"\1", text, flags=re.MULTILINE)
    assert (
        len([1 for a, b in zip(text.split("\n"), edited.split("\n"), strict=True) if a != b]) == 3
    )
    profile = yaml.safe_load(edited)
    assert profile["default-resources"] == {
        "nodes": 1,
        "slurm_account": "lab",
        "slurm_partition": "cpu",
    }
    with_gpu = {name for name, body in rules().items() if resource(body, "gpu")}
    assert with_gpu == set(profile["set-resources"])
    assert all(v == {"slurm_partition": "gpu"} for v in profile["set-resources"].values())
