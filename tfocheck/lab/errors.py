"""The lab's one error."""

from __future__ import annotations

from tfocheck.errors import ExitCode, TfocheckError


class LabError(TfocheckError):
    """A lab that can't be built or was asked for wrongly.

    The message is one line for stderr: what, where, what to do. `exit_code` is 5 (this machine
    can't) unless told otherwise. `detail` is the traceback of the process it happened in, if any.
    """

    def __init__(
        self, message: str, exit_code: ExitCode = ExitCode.CANNOT, detail: str = ""
    ) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.detail = detail
