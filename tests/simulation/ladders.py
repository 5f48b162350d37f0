"""A case's ladder, read from its docstring, and held against the packets of a run.

A ladder is a list of strands: each begins with a SYN of ours, and goes on with what is sent and
received on that connection. ``->`` is ours, ``<-`` the server's; what stands in no arrow says when
something happens, or that nothing does. Behind a line that ends with a colon, or that says where a
run differs, the strands are those of another course of events.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tfocheck.model.case import Case
from tfocheck.wire.evidence import Captured, FlowRecord
from tfocheck.wire.numbers import relative
from tfocheck.wire.options import FastOpen
from tfocheck.wire.segment import Flags, Segment

_SILENCE = re.compile(r"\.\.\.(nothing|no answer) before our ACK\.\.\.")
_ELSEWHERE = ("those of", "as in other cases", "SYNs of")
_DATA = re.compile(r"\b[nmk] bytes|first bytes of a request|first m of n bytes")
_COOKIE = re.compile(
    r"cookie \((?!empty)|that cookie|one of the cookies|address's cookie|bytes of cookie"
    r"|of the valid cookie|forged cookie|one cookie"
)
_REQUEST = re.compile(r"cookie request|22 02")


@dataclass(frozen=True)
class Rung:
    """One arrow of a ladder; ``text`` is what stands behind it."""

    sent: bool
    text: str

    @property
    def opens(self) -> bool:
        """Whether a connection begins with it."""
        return self.sent and self.text.startswith("SYN") and "very same" not in self.text

    def fits(self, captured: Captured, flow: FlowRecord) -> bool:
        """Whether a packet of the flow is what the arrow says."""
        if captured.sent is not self.sent:
            return False
        segment = captured.segment
        if self.sent:
            return _is_sent(self.text, segment, flow)
        return _is_received(self.text, segment, flow)


@dataclass(frozen=True)
class Strand:
    """What happens on one connection.

    ``always`` is False for another course of events than that of a good run; ``elsewhere`` says
    that its packets are those of other cases.
    """

    rungs: tuple[Rung, ...]
    silent: bool = False
    always: bool = True

    @property
    def elsewhere(self) -> bool:
        """Whether its packets are another case's."""
        return any(words in rung.text for rung in self.rungs for words in _ELSEWHERE)

    def describes(self, flow: FlowRecord) -> bool:
        """Whether all of its arrows are among the flow's packets, in their order."""
        packets = iter(flow.packets)
        errors = bool(flow.icmp)
        return all(
            errors if rung.text.startswith("ICMP") else _any(packets, rung, flow)
            for rung in self.rungs
        ) and not (self.silent and _early_data(flow))


def _any(packets: Iterator[Captured], rung: Rung, flow: FlowRecord) -> bool:
    return any(rung.fits(captured, flow) for captured in packets)


def strands(case: Case) -> list[Strand]:
    """The ladder of a case."""
    found: list[Strand] = []
    always, rungs, silent = True, list[Rung](), False
    for line in (inspect.getdoc(case.run) or "").splitlines():
        arrow, _, text = line.partition(" ")
        if arrow in ("->", "<-"):
            rung = Rung(arrow == "->", text)
            if rung.opens and rungs:
                found.append(Strand(tuple(rungs), silent, always))
                rungs, silent = [], False
            rungs += [Rung(True, each) for each in _several(text)] if rung.sent else [rung]
            continue
        silent = silent or _SILENCE.match(line) is not None
        if line.endswith((":", "?")) or line.startswith(("no good answer", "nothing comes")):
            if rungs:
                found.append(Strand(tuple(rungs), silent, always))
                rungs, silent = [], False
            always = False
    if rungs:
        found.append(Strand(tuple(rungs), silent, always))
    return found


def _several(text: str) -> list[str]:
    """ "ACK, FIN,ACK" are two segments, "RST,ACK (half-open), or ..." is one of two."""
    head, comma, rest = text.partition(", FIN,ACK")
    return [head, f"FIN,ACK{rest}"] if comma and head == "ACK" else [text]


def lies(case: Case, flows: Sequence[FlowRecord], controls: Sequence[FlowRecord] = ()) -> list[str]:
    """What in the ladder of a case is not true of these flows, its evidence in a good run.

    A strand may also be among the ``controls`` of the run, which are no case's evidence; those that
    are made for a case, as it declares, need no arrow.
    """
    ladder = strands(case)
    found = [
        f"no connection went like this: {' | '.join(rung.text for rung in strand.rungs)}"
        for strand in ladder
        if strand.always
        and not strand.elsewhere
        and not any(map(strand.describes, (*flows, *controls)))
    ]
    if any(strand.elsewhere for strand in ladder):
        return found
    for flow in flows:
        if flow.label.startswith(("control:", "positive control:")):
            continue  # made beside every case that declares it
        syn = next((each for each in flow.packets if each.sent), None)
        opening = [strand.rungs[0] for strand in ladder]
        if syn is not None and not any(rung.fits(syn, flow) for rung in opening):
            found.append(f"no arrow says what was sent: {flow.label}")
    return found


# What is sent


def _flags(text: str) -> Flags | None:
    named = re.match(r"SYN|RST,ACK|FIN,ACK|ACK", text)
    wanted = {
        "SYN": Flags.SYN,
        "RST,ACK": Flags.RST | Flags.ACK,
        "FIN,ACK": Flags.FIN | Flags.ACK,
        "ACK": Flags.ACK,
    }
    return wanted[named[0]] if named else None


def _is_sent(text: str, segment: Segment, flow: FlowRecord) -> bool:
    if " or ACK and FIN,ACK" in text and segment.flags & Flags.FIN:
        return True
    if segment.flags & ~Flags.PSH != _flags(text):
        return False
    checks: list[Callable[[str, Segment, FlowRecord], bool]] = [_place, _data, _details]
    if segment.flags & Flags.SYN:
        checks.append(_fast_open)
    return all(check(text, segment, flow) for check in checks)


def _place(text: str, segment: Segment, flow: FlowRecord) -> bool:
    place = relative(segment.seq, flow.client_isn)
    if "seq 0" in text:
        return place == 0
    if "seq 1+" in text:
        return place > 1
    return place == 1 if "seq 1" in text else True


def _data(text: str, segment: Segment, flow: FlowRecord) -> bool:
    if "and another with" in text or "TTL" in text:
        return True
    if segment.flags & Flags.SYN and "very same" not in text:
        return bool(segment.payload) == bool(_DATA.search(text))
    says = _DATA.search(text) or "the data" in text or "the whole request" in text
    return bool(segment.payload) if says or "the rest of" in text else True


def _details(text: str, segment: Segment, flow: FlowRecord) -> bool:
    options = segment.option_list
    holds = {
        "MSS 536": options.mss == 536,
        "window 200": segment.window == 200,
        "a large window": segment.window > 200,
        "TSval t": options.timestamps is not None,
        "40 bytes of options": len(segment.options) == 40,
        "kind 64": options.find(64) is not None,
        "with 22 02": segment.fast_open == FastOpen(),
        "very same": segment.flags == Flags.SYN and bool(segment.payload),
        "length 0": b"\x22\x00" in segment.options,
    }
    return all(holds[words] for words in holds if words in text)


def _fast_open(text: str, segment: Segment, flow: FlowRecord) -> bool:
    option = segment.fast_open
    if "22 00" in text:
        return segment.option_list.malformed is not None
    if "End of Option List" in text:
        return option is None and b"\x22" in segment.options
    if "very same" in text or "and another with" in text or "TTL" in text:
        return True
    if _REQUEST.search(text):
        wanted = option is not None and option.is_request
    elif _COOKIE.search(text):
        wanted = option is not None and not option.is_request
    else:
        return option is None
    # A ladder says of random cookies that they are sent in kind 254, too, on a line of its own.
    return wanted and ("kind 254" not in text or (option is not None and option.experimental))


# What is received


def _is_received(text: str, segment: Segment, flow: FlowRecord) -> bool:
    if text.startswith(("anything", "what each")):
        return True
    if text.startswith("SYN-ACK"):
        if not segment.is_syn_ack:
            return (", or ACK" in text and segment.flags == Flags.ACK) or "or nothing" in text
        return _acknowledges(text, segment, flow) and _offers(text, segment)
    if text.startswith("ACK of our FIN"):
        return segment.has_ack and not segment.is_syn_ack and not _carries_option(text, segment)
    if text.startswith("RST"):
        return segment.is_reset
    return bool(segment.payload) and not _carries_option(text, segment)


def _carries_option(text: str, segment: Segment) -> bool:
    return "no Fast Open option" in text and segment.fast_open is not None


def _acknowledges(text: str, segment: Segment, flow: FlowRecord) -> bool:
    ack = relative(segment.ack, flow.client_isn)
    syn = next(each.segment for each in flow.packets if each.sent)
    whole = 1 + len(syn.payload)
    if "ack 1 or 1+n" in text:
        return ack in (1, whole)
    if match := re.search(r"ack 1\+([nmj])", text):
        return 1 < ack <= whole if match[1] == "j" else ack == whole > 1
    return ack == 1 or "or more" in text if "ack 1" in text else True


def _offers(text: str, segment: Segment) -> bool:
    option = segment.fast_open
    if "no option, or" in text or "a fresh cookie shows" in text:
        return True
    if "no Fast Open option" in text:
        return option is None
    return option is not None and not option.is_request if ", cookie" in text else True


def _early_data(flow: FlowRecord) -> bool:
    for captured in flow.packets:
        if captured.sent and captured.segment.flags & (Flags.SYN | Flags.ACK) == Flags.ACK:
            return False
        if not captured.sent and captured.segment.payload:
            return True
    return False
