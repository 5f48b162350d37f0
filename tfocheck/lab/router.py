"""The processes in a router's namespace: loading its nftables rules, and its transparent proxy."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

from tfocheck.lab.children import Gate, Ready
from tfocheck.lab.errors import LabError
from tfocheck.lab.middleboxes import SERVER, Path
from tfocheck.lab.private_files import LAB_FILES
from tfocheck.lab.scenario import OFF_PORT, PORT, find_program
from tfocheck.lab.sysctls import set_sysctl
from tfocheck.lab.topology import has_ipv6
from tfocheck.linux.namespaces import NetworkNamespace


def rules_work(path: Path, node: NetworkNamespace) -> Callable[[Ready], None]:
    """Set the router's sysctls and load its ruleset."""

    def work(ready: Ready) -> None:
        node.enter()
        _load(["nft", "-f", "-"], path.ruleset)
        if path.ip6tables and has_ipv6():
            _load(["ip6tables-restore"], path.ip6tables)
        # Connection tracking has its sysctls once there are rules that need it.
        for name, value in path.sysctls:
            set_sysctl(name, value)
        ready()

    return work


def proxy_work(node: NetworkNamespace, connected: Gate) -> Callable[[Ready], None]:
    """Become the haproxy that catches connections; never calls ready()."""

    def work(_ready: Ready) -> None:
        node.enter()
        connected.wait()
        files = LAB_FILES / "proxy"
        files.mkdir()
        configuration = files / "haproxy.conf"
        configuration.write_text(_proxy_configuration())
        os.execv(_program("haproxy"), ["haproxy", "-db", "-f", str(configuration)])

    return work


def _program(name: str) -> str:
    path = find_program(name)
    if path is None:
        raise LabError(f"the lab's router needs {name}")
    return path


def _load(command: list[str], rules: str) -> None:
    arguments = [_program(command[0]), *command[1:]]
    done = subprocess.run(arguments, input=rules, capture_output=True, text=True, check=False)
    if done.returncode:
        first = (done.stderr.strip() or "no reason given").splitlines()[0]
        raise LabError(
            f"{command[0]} refuses the rules of the lab's router ({first}): it needs nftables "
            "1.0.6 and a kernel with nftables' parts for forwarding, NAT and SYNPROXY"
        )


def _proxy_configuration() -> str:
    sides = [("ipv4", "0.0.0.0", "", SERVER[0])]
    if has_ipv6():
        sides.append(("ipv6", "[::]", " v6only", f"[{SERVER[1]}]"))
    listeners = "\n".join(
        f"listen {name}-{port}\n    bind {own}:{port}{only}\n    server behind {server}:{port}"
        for name, own, only, server in sides
        for port in (PORT, OFF_PORT)
    )
    return f"""\
global
    maxconn 512
    nbthread 1
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
{listeners}
"""
