"""Whether the application fails now and then, whatever it is asked."""

from __future__ import annotations

from tfocheck.engine.together import all_or_nothing
from tfocheck.server.application import Application
from tfocheck.server.session import Session

CONNECTIONS = 80
"""So many plain connections show one failure in twenty with 98 % certainty."""

AT_ONCE = 8
"""So many side by side: as many as a run has now and then, for some applications cap that."""


async def errs(session: Session) -> bool:
    """True if some plain connections are not served; found out once, for everybody.

    Then a single attempt of many that is not served either says nothing of what it tried.
    """
    manners = session.manners
    return manners.has_erred or await manners.errs.find(lambda: _look(session))


async def _look(session: Session) -> bool:
    application = Application(session)
    for _ in range(CONNECTIONS // AT_ONCE):
        if not all(await all_or_nothing(_is_served(session, application) for _ in range(AT_ONCE))):
            return True
    return False


async def _is_served(session: Session, application: Application) -> bool:
    """Whether one more plain connection is served as the others were."""
    if await application.is_mute():
        return await application.plain_is_served()
    ordinary = await application.ordinary_answer()
    flow = await session.plain_connection("control: does it fail now and then?")
    try:
        if flow.syn_ack is None:
            return False
        patience = application.patience(ordinary)
        return (
            await application.converse(flow, session.payload.data, patience) in ordinary.signatures
        )
    finally:
        session.close_later(flow)
