"""A small internet for a booted machine: a name that leads to it, an authority that gives certificates, a repository.

The authority answers as Let's Encrypt does, by the ACME server that Caddy carries, from a network of its own behind a
virtual cable, and asks the machine back at port 80 before it signs. The machine trusts it as it trusts the world's.
"""

from pathlib import Path

from events_platform.up.data_dir import CHECKOUT
from tests.private_machine import PrivateMachine
from tests.waiting import wait_until

NAME = "events.example.com"
REPOSITORY = "https://git.example.com/events-platform.git"
# Addresses for documentation (RFC 5737): they lead nowhere else.
_MACHINE, _AUTHORITY = "198.51.100.2", "198.51.100.1"
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


def connect(machine: PrivateMachine, *, caddy: Path, repository: Path = CHECKOUT) -> None:
    """Give the machine its name, certificates for it, and a clone of `repository` behind the documented address."""
    machine.run(_CABLE)
    machine.path("/srv/caddy").write_bytes(caddy.read_bytes())
    machine.path("/srv/Caddyfile").write_text(_CADDYFILE)
    machine.run("chmod +x /srv/caddy")
    machine.start("exec ip netns exec world /srv/caddy run --config /srv/Caddyfile --adapter caddyfile")
    wait_until(lambda: machine.run(f"test -s {_ROOT}", check=False).returncode == 0)
    # As a distribution's package brings the world's authorities; `update-ca-certificates` runs when it is installed.
    machine.run(f"cp {_ROOT} /usr/local/share/ca-certificates/authority.crt")
    machine.run("! command -v update-ca-certificates || update-ca-certificates")
    rewrite = f'[url "file://{repository}"]\n\tinsteadOf = {REPOSITORY}\n[safe]\n\tdirectory = *\n'
    machine.path("/etc/gitconfig").write_text(rewrite)
