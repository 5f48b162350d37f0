"""Early data that gets lost is sent again, or the server is said not to."""

from __future__ import annotations

import pytest
from test_legal_servers import bad, checked, seen
from whole import check

from tfocheck.memory.impairment import Impairment, Weather
from tfocheck.reference.variations import Variations
from tfocheck.wire import options as tcp_options
from tfocheck.wire.segment import Flags

WEATHER = Weather(loss=0.1, delay=0.01, duplicate=0.05, reorder=0.1)
SENT_AGAIN = (
    "pass: the first of 4 early segments, not acknowledged, is sent again; the answer is whole"
)


@pytest.mark.parametrize("sack", [True, False])
def test_what_was_not_acknowledged_is_sent_again(sack: bool) -> None:
    variations = Variations(sack_permitted=sack)
    report = checked(variations, ["--case=open.recovery"])
    assert seen(report, "open.recovery") == SENT_AGAIN
    result = report.result("open.recovery")
    assert result is not None
    [flow] = [each for each in result.flows if each.label == "early data lost"]
    asking = [
        each.segment
        for each in flow.packets
        if each.sent and each.segment.flags == Flags.ACK and each.segment.option_list.options
    ]
    blocks = [each for each in asking if each.option_list.find(tcp_options.SACK) is not None]
    assert bool(blocks) is sack


@pytest.mark.parametrize("sack", [True, False])
def test_a_server_that_forgets_what_it_sent_early_is_found(sack: bool) -> None:
    report = checked(Variations(sack_permitted=sack), faults=["loses-early-data"])
    assert set(bad(report)) == {"open.recovery"}
    assert seen(report, "open.recovery").startswith(
        "fail: the first of 4 early segments, not acknowledged, is not sent again within 3.5 s"
    )


def test_where_nothing_comes_early_nothing_can_get_lost() -> None:
    report = check(["--case=open.recovery"], faults=["holds-data"])
    assert seen(report, "open.recovery").startswith("info: no answer comes before our ACK")


@pytest.mark.parametrize("seed", range(6))
def test_what_the_network_delays_or_doubles_is_not_sent_again(seed: int) -> None:
    impairment = Impairment(WEATHER, WEATHER, seed=seed)
    case = ["--case=open.recovery"]
    good = check(case, impairment=impairment)
    assert seen(good, "open.recovery").startswith("pass: the first of")
    faulty = check(case, faults=["loses-early-data"], impairment=impairment)
    assert not seen(faulty, "open.recovery").startswith("pass")
