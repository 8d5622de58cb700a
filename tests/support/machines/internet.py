"""A small internet for a booted machine: a name that leads to it, an authority that gives certificates, a repository.

The authority answers as Let's Encrypt does, by the ACME server that Caddy carries, from a network of its own behind a
virtual cable, and asks the machine back at port 80 before it signs. The machine trusts it as it trusts the world's.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from installation.local.data_dir import CHECKOUT
from tests.support.machines.private_machine import PrivateMachine
from tests.support.waiting import wait_until

NAME = "events.example.com"
REPOSITORY = "https://git.example.com/events-platform.git"
# Addresses for documentation (RFC 5737): they lead nowhere else.
_MACHINE, _AUTHORITY = "198.51.100.2", "198.51.100.1"
_ANY = Path("/")
_LETS_ENCRYPT = "acme-v02.api.letsencrypt.org"
_CADDYFILE = f"""
{{
	admin off
	skip_install_trust
	storage file_system /srv/authority
}}
{_LETS_ENCRYPT} {{
	tls internal
	rewrite /directory /acme/local/directory
	acme_server
}}
"""
_CABLE = f"""
ip netns add world
ip link add server0 type veth peer name world0 netns world
ip address add {_MACHINE}/24 dev server0
ip link set server0 up
ip -n world address add {_AUTHORITY}/24 dev world0
ip -n world link set world0 up
ip -n world link set lo up
printf '%s\\n' '{_MACHINE} {NAME}' '{_AUTHORITY} {_LETS_ENCRYPT}' >> /etc/hosts
mkdir -p /srv/authority /usr/local/share/ca-certificates
"""
_ROOT = "/srv/authority/pki/authorities/local/root.crt"


_REPOSITORY = "/srv/repository.git"
_GIT = f"""\
[url "file://{_REPOSITORY}"]
	insteadOf = {REPOSITORY}
[safe]
	directory = *
"""


def connect(machine: PrivateMachine, *, repository: Path = CHECKOUT) -> None:
    """Give the machine its name, certificates for it, and a clone of `repository` behind the documented address."""
    caddy = shutil.which("caddy")
    if caddy is None:
        pytest.skip("caddy is not installed")
    machine.run(_CABLE, folder=_ANY)
    machine.path("/srv/caddy").write_bytes(Path(caddy).read_bytes())
    machine.path("/srv/caddy").chmod(0o755)
    machine.path("/srv/Caddyfile").write_text(_CADDYFILE)
    machine.start("exec ip netns exec world /srv/caddy run --config /srv/Caddyfile --adapter caddyfile", folder=_ANY)
    wait_until(machine.path(_ROOT).exists)
    # As a distribution's package brings the world's authorities; `update-ca-certificates` runs when it is installed.
    trust = f"cp {_ROOT} /usr/local/share/ca-certificates/authority.crt"
    machine.run(f"{trust}; ! command -v update-ca-certificates || update-ca-certificates", folder=_ANY)
    with tempfile.TemporaryDirectory() as clone:
        subprocess.run(["git", "clone", "--quiet", "--bare", str(repository), clone], check=True)
        shutil.copytree(clone, machine.path(_REPOSITORY))
    machine.path("/etc/gitconfig").write_text(_GIT)
