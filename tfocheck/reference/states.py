"""The states that a server's connection goes through, and what leads from one to the next.

Source: RFC 9293 section 3.3.2.
"""

from __future__ import annotations

import enum


class State(enum.Enum):
    """RFC 9293 section 3.3.2, without LISTEN and what only a client sees."""

    SYN_RECEIVED = enum.auto()
    ESTABLISHED = enum.auto()
    FIN_WAIT_1 = enum.auto()
    FIN_WAIT_2 = enum.auto()
    CLOSING = enum.auto()
    TIME_WAIT = enum.auto()
    CLOSE_WAIT = enum.auto()
    LAST_ACK = enum.auto()
    CLOSED = enum.auto()


MAY_RECEIVE = (State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2)
MAY_ANSWER = (State.ESTABLISHED, State.CLOSE_WAIT)

AFTER_OUR_FIN = {State.ESTABLISHED: State.FIN_WAIT_1, State.CLOSE_WAIT: State.LAST_ACK}
AFTER_ITS_ACK = {
    State.FIN_WAIT_1: State.FIN_WAIT_2,
    State.CLOSING: State.TIME_WAIT,
    State.LAST_ACK: State.CLOSED,
}
AFTER_PEERS_FIN = {
    State.ESTABLISHED: State.CLOSE_WAIT,
    State.FIN_WAIT_1: State.CLOSING,
    State.FIN_WAIT_2: State.TIME_WAIT,
}
