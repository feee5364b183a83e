import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documents import completion

FOLDER = Path(__file__).parent.parent.parent / "completions"


@pytest.mark.parametrize("shell", completion.FILES)
def test_the_scripts_in_the_repository_are_up_to_date(shell):
    committed = (FOLDER / completion.FILES[shell]).read_text(encoding="utf-8")
    assert committed == completion.script(shell), "run python -m tests.documents.completion"


def complete(*words):
    environ = os.environ | {
        "_IMGGEN_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run([sys.executable, "-m", "imggen"], env=environ, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_a_shell_is_offered_commands_options_and_names():
    assert complete("imggen", "embed") == ["embed-metadata"]
    assert "--seed" in complete("imggen", "generate", "--se")
    assert complete("imggen", "generate", "--preset", "ic") == ["icon"]
    assert complete("imggen", "generate", "--format", "we") == ["webp"]
    assert complete("imggen", "generate", "--aspect", "16") == ["16:9"]
    assert complete("imggen", "generate", "--device", "c") == ["cuda", "cpu"]
    assert "canny:" in complete("imggen", "generate", "--control", "")
    assert complete("imggen", "preprocess", "de") == ["depth"]
    assert complete("imggen", "verify", "--require", "c2") == ["c2pa"]
    assert complete("imggen", "generate", "--help") == ["--help", "--help-all"]
