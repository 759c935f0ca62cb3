"""Tab completes what the command knows."""

import shutil
import subprocess

import pytest
from test_idle_options import ACTS

TAB = """
source ./script
COMP_LINE="$1" COMP_POINT=${#1} COMP_TYPE=9
read -ra COMP_WORDS <<< "$1"
[[ "$1" == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_shtab_safelight
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def script(command, tmp_path):
    """What a shell is given, in a file."""

    def write(shell):
        done = command("completion", shell)
        assert done.returncode == 0
        (tmp_path / "script").write_text(done.stdout)
        return tmp_path / "script"

    return write


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("safelight ev", {"evolve", "evaluate"}),
        ("safelight train --task ", {"autoencode", "denoise", "classify"}),
        ("safelight train digits --task denoise --corr", {"--corrupt"}),
        ("safelight train digits --model denoising-unet --network.w", {"--network.window"}),
        ("safelight data ", {"check", "list", "clear", "fetch", "moved"}),
        ("safelight project run --method u", {"umap"}),
        ("safelight evaluate my-r", {"my-run"}),
        ("safelight train --out my-r", {"my-run"}),
        ("safelight completion ", {"bash", "zsh", "fish"}),
    ],
)
def test_bash_completes(line, expected, script, tmp_path):
    script("bash")
    (tmp_path / "my-run").mkdir()
    done = subprocess.run(
        ["bash", "-c", TAB, "tab", line], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_knows_every_option(shell, script):
    path = script(shell)
    content = path.read_text()
    for options in ACTS.values():
        for option in options.split():
            assert option in content or option[2:] in content
    if shutil.which(shell):
        subprocess.run([shell, "-n", path], check=True)
