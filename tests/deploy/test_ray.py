"""The clusters of deploy/ray: valid to Ray's own schema, and what they run takes the options that they give."""

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RAY = ROOT / "deploy" / "ray"


def options_of(program: str) -> set[str]:
    """Read from the source, which is not run."""
    sources = [ROOT / "scripts" / program, ROOT / "web_demo" / "archive" / "program.py"]
    return {name for source in sources for name in re.findall(r'"(--[a-z-]+)"', source.read_text("utf-8"))}


def commands() -> list[list[str]]:
    job = yaml.safe_load((RAY / "rayjob.yaml").read_text("utf-8"))
    found = [shlex.split(job["spec"]["entrypoint"])]
    for path in (*RAY.glob("*.md"), RAY / "cluster.yaml", ROOT / "README.md"):
        for line in re.findall(r"(?:\S*python3? |\./)?\S*scripts/\w+_archive\.py .*", path.read_text("utf-8")):
            found.append(shlex.split(line.strip().strip("`")))
    return found


def test_every_command_over_archives_has_options_that_there_are() -> None:
    assert len(commands()) >= 4
    for words in commands():
        program = next(word.rpartition("/")[2] for word in words if word.endswith("_archive.py"))
        assert {word for word in words if word.startswith("--")} <= options_of(program), words


def test_the_cluster_is_one_to_ray() -> None:
    ray = pytest.importorskip("ray", reason="pip install -r requirements-archive.txt")
    import jsonschema

    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text("utf-8"))
    jsonschema.validate(yaml.safe_load((RAY / "cluster.yaml").read_text("utf-8")), schema)


def test_the_job_has_the_version_that_is_installed_and_volumes_that_are_mounted() -> None:
    pinned = re.search(r"^ray\[data\]==(\S+)$", (ROOT / "requirements-archive.txt").read_text("utf-8"), re.MULTILINE)
    assert pinned
    cluster = yaml.safe_load((RAY / "rayjob.yaml").read_text("utf-8"))["spec"]["rayClusterSpec"]
    assert cluster["rayVersion"] == pinned.group(1)
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        spec = group["template"]["spec"]
        mounted = {mount["name"] for container in spec["containers"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in spec["volumes"]}
        (container,) = spec["containers"]
        assert container["image"] == "fun-audio-chat:ray"
    (workers,) = cluster["workerGroupSpecs"]
    assert workers["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
