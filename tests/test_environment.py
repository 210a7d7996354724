"""The environment script says what to install when a tool is missing."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / ".ci" / "environment"


def run_with(tmp_path, *, version_ok, venv_ok):
    """Run the script with a stand-in Python that has, or lacks, what the script asks for."""
    tools = tmp_path / "tools"
    tools.mkdir()
    lines = [
        "#!/bin/bash",
        'case "$2" in',
        f"  *version_info*) exit {0 if version_ok else 1};;",
        f"  *ensurepip*) exit {0 if venv_ok else 1};;",
        "esac",
        'echo "stand-in called with $*"; exit 7',
    ]
    names = ["python3", "python3.11", "python3.12", "python3.13"]
    for name in names:
        stand_in = tools / name
        stand_in.write_text("\n".join(lines) + "\n")
        stand_in.chmod(stand_in.stat().st_mode | stat.S_IXUSR)
    environment = {"PATH": f"{tools}:/usr/bin:/bin", "HOME": os.environ.get("HOME", "")}
    command = ["bash", str(SCRIPT), str(tmp_path / "venv")]
    return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("version_ok", "venv_ok", "message"),
    [(False, True, "No Python 3.11 or newer"), (True, False, "Install the venv module")],
)
def test_missing_tool_is_named(tmp_path, version_ok, venv_ok, message):
    done = run_with(tmp_path, version_ok=version_ok, venv_ok=venv_ok)
    assert done.returncode == 1
    assert message in done.stderr


def test_good_python_is_used(tmp_path):
    done = run_with(tmp_path, version_ok=True, venv_ok=True)
    assert done.returncode == 7
    assert "-m venv" in done.stdout
