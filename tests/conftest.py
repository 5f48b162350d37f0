"""What all tests share: hypothesis without deadlines, as CI machines stall at times."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("tfocheck", deadline=None)
settings.load_profile("tfocheck")
