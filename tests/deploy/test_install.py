"""`scripts/install`, by which `make` fills `.venv`: which Python it takes, and what is left when pip fails.

pip is the real one; it finds only the wheels of a folder, so that nothing here asks a network.
"""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pip
import pytest

from installation.local.data_dir import CHECKOUT

pytestmark = pytest.mark.slow


class Checkout:
    """A folder with the script, a requirements file, and the only Pythons that the script may find."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.venv = root / ".venv"
        for folder in ("scripts", "bin", "wheels"):
            (root / folder).mkdir()
        shutil.copy(CHECKOUT / "scripts/install", root / "scripts")
        for program in ("sh", "dirname", "sed", "grep", "ln", "tail", "cat", "rm", "mktemp", "touch"):
            (root / "bin" / program).symlink_to(shutil.which(program) or program)
        self.require("sample==1.0")

    def require(self, line: str) -> None:
        (self.root / "requirements.txt").write_text(f"{line}\n")

    def add_python(self, name: str) -> None:
        """A Python that writes down when it makes an environment. The pip in there is a link, as copying is slow."""
        library = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
        program = self.root / "bin" / name
        program.write_text(
            "#!/bin/sh\n"
            f'[ "$1" = -m ] || exec {sys.executable} "$@"\n'
            f"echo {name} >>made\n"
            f"{sys.executable} -m venv --clear --without-pip .venv\n"
            f"exec ln -s {Path(pip.__file__).parent} .venv/{library}\n"
        )
        program.chmod(0o755)

    def add_wheel(self, name: str, version: str) -> None:
        about = f"{name}-{version}.dist-info"
        with zipfile.ZipFile(self.root / "wheels" / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}.py", "")
            wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{about}/RECORD", "")

    def install(self) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.root / "bin"), "HOME": str(self.root), "PIP_NO_INDEX": "1",
                       "PIP_FIND_LINKS": str(self.root / "wheels")}  # fmt: skip
        return subprocess.run(
            ["sh", "scripts/install", "requirements.txt"], cwd=self.root, env=environment, check=False,
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip

    def made_with(self) -> list[str]:
        return (self.root / "made").read_text().split()

    def can_import_sample(self) -> bool:
        return subprocess.run([self.venv / "bin/python", "-c", "import sample"], check=False).returncode == 0


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_a_failed_first_installation_names_the_requirement_and_leaves_nothing(checkout: Checkout) -> None:
    checkout.add_python("python3.12")
    failed = checkout.install()
    assert failed.returncode == 1
    assert "requirements.txt could not be installed with Python 3." in failed.stderr
    assert "No matching distribution found for sample==1.0" in failed.stderr
    assert not checkout.venv.exists()

    checkout.add_wheel("sample", "1.0")
    checkout.add_python("python3.13")
    assert checkout.install().returncode == 0
    assert checkout.made_with() == ["python3.12", "python3.13"], "the later try takes the newest Python"
    assert checkout.can_import_sample()

    _a_finished_environment_stays(checkout)


def _a_finished_environment_stays(checkout: Checkout) -> None:
    checkout.require("sample==2.0")
    failed = checkout.install()
    assert failed.returncode == 1
    assert "sample==2.0" in failed.stderr
    assert checkout.can_import_sample()
    checkout.add_wheel("sample", "2.0")
    assert checkout.install().returncode == 0
    assert len(checkout.made_with()) == 2


def test_an_environment_of_ones_own_is_kept_even_when_pip_fails(checkout: Checkout) -> None:
    checkout.add_python("python3.13")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", checkout.venv], check=True)
    (checkout.venv / ".made").touch()
    failed = checkout.install()
    assert failed.returncode == 1
    assert "No module named pip" in failed.stderr
    assert (checkout.venv / "bin/python").exists()
    assert not (checkout.root / "made").exists()


def test_an_environment_whose_installation_was_killed_is_made_anew(checkout: Checkout) -> None:
    checkout.add_wheel("sample", "1.0")
    checkout.add_python("python3.13")
    slow = checkout.root / "bin" / "rm"
    slow.unlink()  # the last step of a first installation: without it the script ends before `.made` is there
    assert checkout.install().returncode != 0
    slow.symlink_to(shutil.which("rm") or "rm")
    checkout.add_python("python3.14")
    assert checkout.install().returncode == 0
    assert checkout.made_with() == ["python3.13", "python3.14"]


def test_without_a_python_it_says_so(checkout: Checkout) -> None:
    refused = checkout.install()
    assert refused.returncode == 1
    assert refused.stderr.startswith("Python 3.11 or newer is needed, and none was found")
