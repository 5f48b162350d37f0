"""From what was found to findings, exit code, steps, script and report: machines made up."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import HOSTILE, KEPT, OURS, listener, machine, process, running, view

from tfocheck.doctor import advice, chain, json_report, report
from tfocheck.doctor.chain import State, state
from tfocheck.doctor.configuration import Endpoint
from tfocheck.doctor.diagnosis import Diagnosis, diagnose
from tfocheck.doctor.examination import Machine, Persistence
from tfocheck.doctor.finding import Kind, Weight
from tfocheck.doctor.firewall import Rule
from tfocheck.doctor.kernel import UNREADABLE
from tfocheck.doctor.netns import Namespace, View
from tfocheck.doctor.outside import Outside
from tfocheck.doctor.routes import Route
from tfocheck.doctor.sockets import Options
from tfocheck.doctor.sysctls import Setting
from tfocheck.errors import ExitCode
from tfocheck.model.style import Style

NGINX = process(100, "nginx")
ELSEWHERE = Namespace((4, 4026532000), pid=77)


def kinds(found: Diagnosis, weight: Weight = Weight.PROBLEM) -> list[Kind]:
    return [each.kind for each in found.findings if each.weight is weight]


def steps(whole: Machine) -> list[str]:
    return [each.what for each in advice.advise(whole, diagnose(whole))]


def commands(whole: Machine) -> list[str]:
    return [line for each in advice.advise(whole, diagnose(whole)) for line in each.commands]


@pytest.mark.parametrize(
    ("fast_open", "queue", "expected"),
    [
        (3, 256, State.ON),
        (2, 1, State.ON),
        (0x203, 5, State.ON),
        (0x403, 128, State.ON),
        (1, 256, State.REFUSED),
        (0x401, 256, State.REFUSED),
        (1, None, State.REFUSED),
        (3, 0, State.OFF),
        (1, 0, State.OFF),
        (3, None, State.UNKNOWN),
        (None, 256, State.UNKNOWN),
    ],
)
def test_socket_and_sysctl_together(
    fast_open: int | None, queue: int | None, expected: State
) -> None:
    assert state(listener(view(fast_open), queue), (6, 1)) is expected


def test_ipv6_takes_a_newer_kernel() -> None:
    assert state(listener(view(3), 5, address="::"), (3, 10)) is State.REFUSED
    assert state(listener(view(3), 5), (3, 10)) is State.ON
    whole = machine(listener(view(3), 5, address="::"), version=(3, 10))
    assert kinds(diagnose(whole)) == [Kind.KERNEL_TOO_OLD]
    assert "install a kernel" in steps(whole)[0]


def test_all_is_well() -> None:
    here = view()
    found = diagnose(machine(listener(here, 256), listener(here, 0, port=22)))
    assert (found.exit_code, found.findings) == (ExitCode.CONFORMS, ())
    assert found.headline == "1 of 1 listeners that ask for Fast Open get it"


@pytest.mark.parametrize(("now", "then"), [(0, 2), (1, 3), (0x401, 0x403), (0x203, 3), (0x200, 2)])
def test_the_sysctl_keeps_its_other_bits(now: int, then: int) -> None:
    whole = machine(listener(view(now)), persistence=Persistence(applies=False))
    assert diagnose(whole).exit_code is ExitCode.FAILED
    assert commands(whole) == [f"sysctl -w net.ipv4.tcp_fastopen={then}"]


def test_each_namespace_has_its_own_command() -> None:
    named = Namespace((4, 4026532001), name="blue", pid=8)
    whole = machine(
        listener(view(1, ELSEWHERE)), listener(view(1, named)), listener(view(3)), persistence=KEPT
    )
    first, second = commands(whole)
    assert "then nsenter --net=/proc/77/ns/net sysctl -w net.ipv4.tcp_fastopen=3; else" in first
    assert second == "ip netns exec blue sysctl -w net.ipv4.tcp_fastopen=3"


def test_nobody_asks() -> None:
    here = view(1)
    web = listener(here, 0, NGINX)
    whole = machine(web, listener(here, 0, process(5, "sshd"), port=22))
    assert kinds(diagnose(whole)) == [Kind.NOBODY_ASKS]
    assert diagnose(whole).exit_code is ExitCode.FAILED
    # Strangers are only told of where nobody better is.
    assert "TCP_FASTOPEN" in steps(whole)[-1]
    known = machine(
        web,
        listener(here, 0, process(5, "sshd"), port=22),
        running=(running(NGINX, ("listen 80", False, 80)),),
    )
    assert "nginx[100]: switch it on in /etc/n.conf:1, and reload" in steps(known)
    assert not any("sshd" in step for step in steps(known))
    assert any(line.startswith("sysctl -w") for line in commands(known))


def test_a_named_port_has_to_ask() -> None:
    here = view(3)
    silent = listener(here, 0, process(5, "sshd"), port=22)
    assert kinds(diagnose(machine(silent, ports=(22,)))) == [Kind.NOT_ASKING]
    assert "sshd[5]: its program has to set" in steps(machine(silent, ports=(22,)))[0]
    assert kinds(diagnose(machine(ports=(99,), views=(here,)))) == [Kind.NO_LISTENER]


def test_where_all_listeners_have_it_an_old_one_is_restarted() -> None:
    whole = machine(
        listener(view(0x403), 0, NGINX),
        running=(running(NGINX, ("listen 80", False, 80)),),
        ports=(80,),
    )
    assert steps(whole) == ["restart nginx[100]: it began to listen before bit 0x400 was set"]


def test_configured_but_not_read_again() -> None:
    on = running(NGINX, ("listen 80 fastopen=9", True, 80))
    whole = machine(listener(view(3), 0, NGINX), running=(on,))
    [step] = advice.advise(whole, diagnose(whole))
    assert "the socket does not have it" in step.what
    assert step.commands[-1].startswith("/usr/sbin/nginx -s reload -c /etc/n.conf")


def test_a_restart_would_switch_it_off() -> None:
    off = running(NGINX, ("listen 80", False, 80))
    found = diagnose(machine(listener(view(3), 9, NGINX), running=(off,)))
    assert found.exit_code is ExitCode.CONFORMS
    assert kinds(found, Weight.WARNING) == [Kind.RESTART_CHANGES]


def test_nothing_of_a_strangers_is_run_as_root() -> None:
    alien = process(100, "nginx", uid=4242)
    whole = machine(
        listener(view(3), 0, alien), running=(running(alien, ("listen 80", False, 80)),)
    )
    assert commands(whole) == []
    assert "listen ... fastopen=256" in steps(whole)[0]


@pytest.mark.parametrize(
    ("queues", "fast_open", "code"),
    [
        ([None, None], 3, ExitCode.CANNOT),
        ([None, None], 1, ExitCode.FAILED),
        ([None, 5], 3, ExitCode.CONFORMS),
        ([None, 0], 3, ExitCode.FAILED),
        ([None], None, ExitCode.CANNOT),
    ],
)
def test_without_privilege(queues: list[int | None], fast_open: int | None, code: ExitCode) -> None:
    here = view(fast_open)
    found = diagnose(machine(*(listener(here, queue) for queue in queues)))
    assert found.exit_code is code
    assert Kind.NOT_READ in kinds(found, Weight.NOTE)


def test_a_namespace_that_cannot_be_entered_is_named() -> None:
    closed = View(ELSEWHERE, UNREADABLE, [], None, "can't be entered (EPERM): that takes root")
    found = diagnose(machine(listener(closed, None)))
    assert found.exit_code is ExitCode.CANNOT
    assert any("network namespace of process 77 can't be entered" in f.text for f in found.findings)


def of(where: View, **fields: Any) -> View:
    """The same namespace with other settings."""
    return dataclasses.replace(where, settings=dataclasses.replace(where.settings, **fields))


def test_syn_cookies_for_every_syn_leave_nobody_fast_open() -> None:
    here = of(view(3), syn_cookies=2)
    whole = machine(listener(here, 256, NGINX))
    found = diagnose(whole)
    assert (found.exit_code, kinds(found)) == (ExitCode.FAILED, [Kind.ALWAYS_SYN_COOKIES])
    assert found.headline == "1 listener asks for Fast Open and does not get it"
    assert commands(whole) == ["sysctl -w net.ipv4.tcp_syncookies=1"]
    shown = report.render(whole, found, [], Style())
    assert "no         it asks for 256, the kernel refuses: net.ipv4.tcp_syncookies is 2" in shown
    assert "breaks  net.ipv4.tcp_syncookies: 2: each SYN is answered by a SYN cookie" in shown
    for value in (0, 1, None):
        assert diagnose(machine(listener(of(here, syn_cookies=value)))).exit_code == 0
    # The outside agrees: one cause, one finding.
    [asked] = whole.listeners
    seen = [Outside(asked, "10.0.0.1:80", False, "TFO not offered")]
    assert kinds(diagnose(whole, seen)) == [Kind.ALWAYS_SYN_COOKIES]


def test_a_queue_that_the_kernel_cuts_to_0_is_not_said_not_to_be_asked_for() -> None:
    here = of(view(3), longest_queue=0)
    whole = machine(listener(here, 0, NGINX), ports=(80,))
    found = diagnose(whole)
    assert kinds(found) == [Kind.QUEUE_CUT]
    assert "net.core.somaxconn is 0" in found.headline
    assert commands(whole)[0] == "sysctl -w net.core.somaxconn=4096"
    shown = report.render(whole, found, advice.advise(whole, found), Style())
    assert "not ask" not in shown
    # Who has begun before has a queue: nothing says that the others ask.
    mixed = machine(listener(here, 0, NGINX), listener(here, 9, port=443))
    assert diagnose(mixed).exit_code == ExitCode.CONFORMS
    assert Kind.QUEUE_CUT in kinds(diagnose(mixed), Weight.NOTE)


@pytest.mark.parametrize("changed", [{"fast_open": 1}, {"syn_cookies": 2}, {"longest_queue": 0}])
@pytest.mark.parametrize("ports", [(), (80,)])
def test_what_can_not_be_read_elsewhere_is_a_note(
    changed: dict[str, int], ports: tuple[int, ...]
) -> None:
    there = of(view(3, ELSEWHERE), **changed)
    whole = machine(listener(view(3), 9), listener(there, None), ports=ports)
    found = diagnose(whole)
    assert (found.exit_code, kinds(found)) == (ExitCode.CONFORMS, [])
    assert kinds(found, Weight.NOTE) == [Kind.NOT_READ]
    assert commands(whole) == []
    alone = machine(listener(there, None), ports=ports)
    assert diagnose(alone).exit_code == ExitCode.CANNOT
    # One that is read, and asks, is told of all the same.
    asking = machine(listener(there, 9 if changed != {"longest_queue": 0} else 0), ports=ports)
    assert diagnose(asking).exit_code == ExitCode.FAILED


def test_a_route_without_cookies_is_named_where_clients_reach_it() -> None:
    route = Route(4, "10.0.0.0/8")
    there = dataclasses.replace(view(3, ELSEWHERE), routes=(route, Route(4, "default", True)))
    whole = machine(listener(there, 9))
    assert kinds(diagnose(whole)) == [Kind.WITHOUT_COOKIE] * 2
    first, *_ = commands(whole)
    assert "nsenter --net=/proc/77/ns/net sh -c 'ip -4 -d route show table all exact" in first
    assert "without fastopen_no_cookie" in " ".join(steps(whole))
    six = machine(listener(there, 9, address="::"))
    assert diagnose(six).exit_code == ExitCode.CONFORMS
    # Outside it is not offered: that agrees.
    seen = [Outside(whole.listeners[0], "10.0.0.1:80", False, "TFO not offered")]
    assert Kind.OUTSIDE_DISAGREES not in kinds(diagnose(whole, seen))


def test_rules_of_the_firewall_are_told_of() -> None:
    rule = Rule("inet", "t", "c; x", 7, "takes the Fast Open option off", True)
    here = dataclasses.replace(view(3), rules=(rule,))
    asked = listener(here, 9)
    found = diagnose(machine(asked))
    assert (found.exit_code, kinds(found, Weight.WARNING)) == (0, [Kind.FIREWALL])
    seen = [Outside(asked, "10.0.0.1:80", False, "TFO not offered")]
    whole = machine(asked)
    [line] = [
        command
        for step in advice.advise(whole, diagnose(whole, seen))
        for command in step.commands
        if command.startswith("nft")
    ]
    assert line == "nft delete rule inet t 'c; x' handle 7"
    silent = machine(listener(here, 0), ports=(80,))
    assert Kind.FIREWALL not in kinds(diagnose(silent), Weight.WARNING)


@pytest.mark.parametrize(
    ("rules", "tables", "bpf", "words"),
    [
        (None, (), None, "away: nft list ruleset, BPF programs (bpftool net)"),
        ((), ("ip filter",), {}, "away: iptables-legacy-save"),
        ((), (), {"xdp": 2, "sock_ops": 1}, "away: BPF programs (bpftool net; 1 sock_ops, 2 xdp)"),
        ((), (), {}, "away: what stands between this machine's network card and its kernel"),
    ],
)
def test_only_what_may_be_at_fault_is_looked_for(
    rules: tuple[Rule, ...] | None, tables: tuple[str, ...], bpf: dict[str, int] | None, words: str
) -> None:
    asked = listener(dataclasses.replace(view(3), rules=rules, old_tables=tables), 9)
    whole = machine(asked, bpf=bpf)
    found = diagnose(whole, [Outside(asked, "10.0.0.1:80", False, "TFO not offered")])
    assert advice.advise(whole, found)[0].what.endswith(words)


def test_sockets_of_one_address_that_differ() -> None:
    here = view(3)
    one, other = listener(here, 9), dataclasses.replace(listener(here, 0), count=3)
    [finding] = [f for f in diagnose(machine(one, other)).findings if f.kind is Kind.SOCKETS_DIFFER]
    assert "1 of the 4 sockets there (SO_REUSEPORT) have Fast Open" in finding.text
    keyed = dataclasses.replace(one, options=Options(9, own_keys=1))
    assert Kind.SOCKETS_DIFFER in kinds(diagnose(machine(one, keyed)), Weight.WARNING)
    assert Kind.SOCKETS_DIFFER not in kinds(
        diagnose(machine(one, listener(here, 0, port=81))), Weight.WARNING
    )


def test_backlogs_and_syn_cookies_that_were_sent() -> None:
    here = view(3, SyncookiesSent=4)
    short = dataclasses.replace(listener(here, 9), options=Options(9, backlog=5))
    texts = [f.text for f in diagnose(machine(short)).findings if f.kind is Kind.BACKLOG]
    assert ["4 SYNs were answered by a SYN cookie" in texts[0], "a backlog of 5" in texts[1]] == [
        True,
        True,
    ]
    long = dataclasses.replace(listener(view(3), 9), options=Options(9, backlog=128))
    assert Kind.BACKLOG not in kinds(diagnose(machine(long)), Weight.WARNING)


def test_a_file_that_overrules_at_the_next_boot() -> None:
    line = Setting("/etc/sysctl.d/9.conf", 3, "2")
    kept = dataclasses.replace(KEPT, overruling=(("net.ipv4.tcp_syncookies", line),))
    whole = machine(listener(view(3)), persistence=kept)
    assert kinds(diagnose(whole), Weight.WARNING) == [Kind.OVERRULED_AT_BOOT]
    [command] = commands(whole)
    assert command.startswith("sed -i '3s/=")
    assert "/=\\11/" in command


def test_full_queues_and_cookieless_sockets() -> None:
    here = view(3, TCPFastOpenListenOverflow=12)
    whole = machine(listener(here, 2, NGINX))
    assert kinds(diagnose(whole), Weight.WARNING) == [Kind.QUEUE_FULL]
    assert "longer queue" in steps(whole)[0]
    whole = machine(listener(view(0x203), 9))
    assert kinds(diagnose(whole)) == [Kind.WITHOUT_COOKIE]


@pytest.mark.parametrize(
    ("persistence", "words", "last"),
    [
        (Persistence(), "no file of sysctl.d", "> /etc/sysctl.d/30-tcp_fastopen.conf"),
        (
            Persistence((Setting("/usr/lib/sysctl.d/50-x.conf", 4, "1"),)),
            "50-x.conf:4 sets",
            "> /etc/sysctl.d/zz30-tcp_fastopen.conf",
        ),
        (
            Persistence((Setting("/etc/sysctl.d/50-x.conf", 4, "0"),)),
            "50-x.conf:4 sets",
            "/etc/sysctl.d/50-x.conf",
        ),
        (
            Persistence((Setting("/etc/sysctl.conf", 4, "3"),), read_at_boot=False),
            "systemd does not read",
            "> /etc/sysctl.d/zz30-tcp_fastopen.conf",
        ),
    ],
)
def test_what_the_next_boot_would_change(persistence: Persistence, words: str, last: str) -> None:
    whole = machine(listener(view(3)), persistence=persistence)
    found = diagnose(whole)
    assert found.exit_code is ExitCode.CONFORMS
    [finding] = [each for each in found.findings if each.kind is Kind.NOT_KEPT]
    assert words in finding.text
    assert commands(whole)[-1].endswith(last)


@pytest.mark.parametrize(
    ("works", "code"), [(True, 0), (False, 1), (None, 5)], ids=["works", "not", "unknown"]
)
def test_inside_and_outside(works: bool | None, code: int) -> None:
    on = listener(view(3), 9)
    found = diagnose(machine(on), [Outside(on, "10.0.0.1:80", works, "TFO not offered")])
    assert found.exit_code == code
    if works is False:
        [finding] = [each for each in found.findings if each.kind is Kind.OUTSIDE_DISAGREES]
        assert finding.text == "10.0.0.1:80: the socket says on, the outside says TFO not offered"
    # Who takes data without a cookie gives none: one cause, one finding.
    bare = listener(view(0x203), 9)
    seen = [Outside(bare, "10.0.0.1:80", False, "TFO not offered")]
    assert kinds(diagnose(machine(bare), seen)) == [Kind.WITHOUT_COOKIE]
    # One address that is known suffices.
    seen = [Outside(on, "10.0.0.1:80", True, ""), Outside(on, "10.0.0.2:80", None, "no answer")]
    assert diagnose(machine(on), seen).exit_code == ExitCode.CONFORMS


def test_a_file_of_sysctl_d_is_never_overwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "lexists", lambda path: "/30-" in path)
    whole = machine(listener(view(3)), persistence=Persistence())
    assert commands(whole)[-1].endswith("> /etc/sysctl.d/31-tcp_fastopen.conf")


def test_a_pattern_is_not_edited_as_it_sets_others_too() -> None:
    pattern = Setting("/etc/sysctl.d/50-x.conf", 4, "1", by_pattern=True)
    whole = machine(listener(view(3)), persistence=Persistence((pattern,)))
    assert commands(whole)[-1].endswith("> /etc/sysctl.d/zz30-tcp_fastopen.conf")


def test_what_the_kernel_refuses_does_not_win() -> None:
    refused = Setting("/etc/sysctl.d/60-x.conf", 1, "on")
    whole = machine(listener(view(3)), persistence=Persistence((*KEPT.settings, refused)))
    assert kinds(diagnose(whole), Weight.WARNING) == []
    shown = report.render(whole, diagnose(whole), [], Style())
    assert "60-x.conf:1 sets on, which the kernel refuses" in shown
    assert "30-tcp_fastopen.conf:1 sets 3\n" in shown


def test_a_service_is_named_rather_than_the_systemd_that_hands_it_the_socket() -> None:
    systemd, service = process(1, "systemd"), process(500, "web")
    handed = listener(view(3), 0, systemd, service)
    assert handed.process == service
    waiting = listener(view(3), 0, systemd)
    whole = machine(waiting, running=(running(systemd),), ports=(80,))
    assert waiting.process == systemd
    assert "a .socket unit has no setting for it" in steps(whole)[0]


def test_a_master_is_advised_that_holds_no_socket() -> None:
    master = process(50, "haproxy", arguments=("haproxy", "-Ws"))
    whole = running(master, ("bind :80", False, 80))
    whole = dataclasses.replace(
        whole,
        workers=(51,),
        configuration=dataclasses.replace(
            whole.configuration,
            directives=(
                dataclasses.replace(whole.configuration.directives[0], source=" bind :80 # x"),
            ),
        ),
    )
    there = machine(listener(view(3), 0, process(51, "haproxy", uid=4242)), running=(whole,))
    shown = commands(there)
    assert "s/bind :80 # x$/bind :80 tfo # x/" in "\n".join(shown)
    assert "kill -USR2 50;" in shown[-1]


def test_nothing_is_restarted_for_a_stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "isdir", lambda _: True)  # systemd runs
    for uid, wanted in ((os.geteuid(), ["systemctl restart web.service"]), (4242, [])):
        which = process(100, "nginx", uid=uid, unit="web.service")
        there = running(which, ("listen 80", False, 80))
        whole = machine(listener(view(0x403), 0, which), running=(there,), ports=(80,))
        assert commands(whole) == wanted


def test_systemd_is_asked_to_reload_what_it_has_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "isdir", lambda _: True)  # systemd runs
    which = process(100, "nginx", unit="nginx.service")
    there = running(which, ("listen 80", False, 80))
    *_, test, again = commands(machine(listener(view(3), 0, which), running=(there,)))
    assert test.startswith("/usr/sbin/nginx -t -q -c /etc/n.conf || {")
    assert again == "systemctl reload nginx.service"


# What is printed


def hostile() -> Machine:
    evil = process(100, "nginx", executable=f"/tmp/{HOSTILE}/nginx")
    there = view(1, Namespace((4, 5), name=HOSTILE))
    return machine(
        listener(there, 0, process(100, HOSTILE, executable="/usr/sbin/nginx")),
        listener(there, 0, evil, port=81),
        running=(running(evil, (f"listen 81 {HOSTILE}", False, 81), file=f"/tmp/{HOSTILE}"),),
        persistence=Persistence((Setting(f"/etc/{HOSTILE}", 1, HOSTILE),)),
        release=HOSTILE,
    )


def schema() -> Any:
    return json.loads(json_report.schema())


def test_nothing_hostile_reaches_the_terminal() -> None:
    whole = hostile()
    found = diagnose(whole)
    planned = advice.advise(whole, found)
    for width in (None, 40, 80, 140):
        shown = report.render(whole, found, planned, Style(width))
        assert all(character == "\n" or " " <= character <= "~" for character in shown)
    text = json_report.dumps(whole, found, planned)
    assert all(character == "\n" or " " <= character <= "~" for character in text)
    jsonschema.validate(json.loads(text), schema())


def test_nothing_hostile_is_run_by_the_script(tmp_path: Path) -> None:
    whole = hostile()
    text = advice.script(advice.advise(whole, diagnose(whole)))
    assert all(character == "\n" or " " <= character <= "~" for character in text)
    harmless = text.replace("sysctl", "true").replace("> /etc/", f"> {tmp_path}/")
    subprocess.run(["sh", "-n"], input=text, text=True, check=True)
    subprocess.run(["sh"], input=harmless, text=True, check=False, cwd=tmp_path)
    assert not list(tmp_path.glob("**/pwned"))


# What /proc can hold in a name: anything but the zero byte.
NAMES = st.binary().map(lambda name: os.fsdecode(name.replace(b"\0", b""))) | st.text(
    " ~'\"$()`;|&\\/x\n", min_size=1
)


@settings(max_examples=60)
@given(NAMES, NAMES, NAMES)
def test_any_name_is_quoted(name: str, file: str, words: str) -> None:
    words = words.replace("\t", " ")  # white space between words, as nginx has it
    program, path = f"/usr/sbin/{name}", f"/nosuch{file}"
    which = process(100, "nginx", executable=program)
    whole = machine(
        listener(view(1), 0, which),
        running=(running(which, (f"listen {words}", False, 80), file=path),),
    )
    found = diagnose(whole)
    planned = advice.advise(whole, found)
    script = advice.script(planned)
    assert all(character == "\n" or " " <= character <= "~" for character in script)
    [step] = [each for each in planned if each.what.startswith("nginx[100]")]
    if all(" " <= character <= "~" for character in f"{name}{file}{words}"):
        by_start = {shlex.split(command)[0]: command for command in step.commands}
        assert shlex.split(by_start["sed"])[-1] == os.path.realpath(path)
        assert shlex.split(step.commands[-1])[:3] == [program, "-s", "reload"]
        assert all(command in script.splitlines() for command in step.commands)
    else:
        for line in script[script.index(f"# {planned.index(step) + 1}. ") :].splitlines():
            assert not line or line.startswith(("#", "echo ", "mkdir ", "printf "))
    assert json.loads(json_report.dumps(whole, found, planned))["steps"]


def test_a_healthy_machines_script_does_nothing() -> None:
    whole = machine(listener(view(3)))
    assert "There is nothing to do" in advice.script(advice.advise(whole, diagnose(whole)))


@pytest.mark.parametrize("width", [None, 80, 140])
def test_the_table(width: int | None) -> None:
    here, there = view(1), view(3, ELSEWHERE)
    whole = machine(
        listener(here, 256, NGINX, process(101, "nginx")),
        listener(there, 0, process(7, "sshd"), port=22),
        listener(there, None, port=443),
        running=(running(NGINX, ("listen 80 fastopen=256", True, 80)),),
    )
    found = diagnose(whole)
    shown = report.render(whole, found, advice.advise(whole, found), Style(width))
    lines = shown.splitlines()
    if width is not None:
        assert max(len(line) for line in lines if "sysctl" not in line) <= width
    flat = " ".join(shown.split())
    assert "0.0.0.0:80 ours nginx[100] +1 256 no it asks for 256" in flat
    assert "of pid 77 sshd[7] - no it does not ask" in flat
    assert "0.0.0.0:443 of pid 77 ? (uid 0)" in flat
    assert "on /etc/n.conf:1: listen 80 fastopen=256" in flat
    assert lines[-1].strip()


def test_what_a_value_means_is_said_once() -> None:
    whole = machine(listener(view(3)), listener(view(3, ELSEWHERE)), listener(view(1, ELSEWHERE)))
    shown = report.render(whole, diagnose(whole), [], Style())
    assert shown.count("listeners that ask for Fast Open get it") == 1
    assert "(0x3) in network namespace of process 77, which means the same as above" in shown


def test_thousands_of_listeners_are_not_compared_with_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []
    real = Endpoint.is_of
    real_links = chain.links

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*arguments: Any) -> Any:
            calls.append(0)
            return call(*arguments)

        return counting

    monkeypatch.setattr(Endpoint, "is_of", counted(real))
    monkeypatch.setattr(chain, "links", counted(real_links))
    here, many = view(1), 1000
    listeners = [listener(here, 0, NGINX, port=number) for number in range(1, many)]
    lines = [(f"listen {number}", False, number) for number in range(1, many)]
    whole = machine(*listeners, running=(running(NGINX, *lines),))
    assert len(commands(whole)) > many
    assert 0 < len(calls) < 10 * many


def test_own_namespace_is_the_first() -> None:
    assert str(OURS) == "this network namespace"
