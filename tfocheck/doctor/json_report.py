"""doctor's report as JSON; ``schema.json`` beside this module says what every field means.

Texts from processes and files are escaped as everywhere (``escape``). The key is not in it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

from tfocheck.doctor import chain
from tfocheck.doctor.advice import Step
from tfocheck.doctor.diagnosis import Diagnosis
from tfocheck.doctor.examination import Machine, Persistence, Running
from tfocheck.doctor.listener import Listener
from tfocheck.doctor.netns import Namespace, View
from tfocheck.doctor.outside import Outside
from tfocheck.doctor.report import why
from tfocheck.model import escape
from tfocheck.version import __version__

FORMAT = 1


def schema() -> str:
    """The JSON schema (2020-12) that every report fits, as text."""
    return resources.files(__package__).joinpath("schema.json").read_text("utf-8")


def dumps(
    machine: Machine, found: Diagnosis, steps: Sequence[Step], outside: Sequence[Outside] = ()
) -> str:
    """The report as JSON text, indented, ending in a line feed."""
    document = {
        "format": FORMAT,
        "version": __version__,
        "exit_code": int(found.exit_code),
        "headline": escape.text(found.headline),
        "kernel": {
            "release": escape.text(machine.release),
            "version": None if machine.version is None else list(machine.version),
        },
        "at_boot": _at_boot(machine.persistence),
        "guards": machine.guards,
        "bpf_programs": None if machine.bpf is None else dict(machine.bpf),
        "namespaces": [_view(view) for view in machine.views],
        "listeners": [_listener(machine, each) for each in machine.listeners],
        "servers": [_server(running) for running in machine.running],
        "outside": [
            {
                "listener": str(each.listener.listening),
                "namespace": _identity(each.listener.view.namespace),
                "target": escape.text(each.target),
                "works": each.works,
                "said": escape.text(each.said),
            }
            for each in outside
        ],
        "findings": [
            {
                "kind": finding.kind.value,
                "weight": finding.weight.value,
                "text": escape.text(finding.text),
                "listeners": [str(each.listening) for each in finding.listeners],
            }
            for finding in found.findings
        ],
        "steps": [
            {
                "what": escape.text(step.what),
                "commands": [escape.text(command) for command in step.commands],
            }
            for step in steps
        ],
    }
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def _at_boot(persistence: Persistence) -> dict[str, Any]:
    return {
        "applies": persistence.applies,
        "read_at_boot": persistence.read_at_boot,
        "settings": [
            {
                "file": escape.text(each.file),
                "line": each.line,
                "value": escape.text(each.value),
            }
            for each in persistence.settings
        ],
        "key_set_by": [escape.text(place) for place in persistence.key],
    }


def _identity(namespace: Namespace) -> int:
    return namespace.identity[1]


def _view(view: View) -> dict[str, Any]:
    return {
        "id": _identity(view.namespace),
        "own": view.namespace.own,
        "name": None if view.namespace.name is None else escape.text(view.namespace.name),
        "pid": view.namespace.pid,
        "tcp_fastopen": view.settings.fast_open,
        "blackhole_timeout": view.settings.blackhole_timeout,
        "tcp_syncookies": view.settings.syn_cookies,
        "tcp_max_syn_backlog": view.settings.syn_backlog,
        "somaxconn": view.settings.longest_queue,
        "key": view.settings.key.value,
        "counters": view.counted,
        "routes_without_cookie": None if view.routes is None else list(map(str, view.routes)),
        "firewall_rules": None
        if view.rules is None
        else [escape.text(str(each)) for each in view.rules],
        "old_iptables": [escape.text(each) for each in view.old_tables],
        "problem": None if view.problem is None else escape.text(view.problem),
    }


def _listener(machine: Machine, listener: Listener) -> dict[str, Any]:
    options = listener.options
    return {
        "address": listener.listening.address,
        "port": listener.listening.port,
        "namespace": _identity(listener.view.namespace),
        "uid": listener.listening.uid,
        "sockets": listener.count,
        "processes": [
            {"pid": each.pid, "name": escape.text(each.name)} for each in listener.holders
        ],
        "queue": listener.queue,
        "own_keys": None if options is None else options.own_keys,
        "without_cookie": None if options is None else options.without_cookie,
        "takes_ipv4": None if options is None else options.takes_ipv4,
        "backlog": None if options is None else options.backlog,
        "is_mptcp": None if options is None else options.is_mptcp,
        "state": chain.state(listener, machine.version).value,
        "chain": [
            {
                "link": each.name.value,
                "holds": each.holds,
                "text": escape.text(each.text),
                "for_all": each.decides,
            }
            for each in chain.links(listener, machine.version)
        ],
        "why": escape.text(why(machine, listener)),
    }


def _server(running: Running) -> dict[str, Any]:
    configuration = running.configuration
    return {
        "name": running.server.name,
        "pid": running.process.pid,
        "how": running.server.how,
        "source": running.server.source,
        "knows": configuration.knows,
        "problem": None if configuration.problem is None else escape.text(configuration.problem),
        "directives": [
            {
                "file": escape.text(each.file),
                "line": each.line,
                "text": escape.text(each.text),
                "on": each.on,
            }
            for each in configuration.directives
        ],
    }
