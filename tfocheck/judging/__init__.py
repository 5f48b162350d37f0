"""From verdicts to a letter. Pure."""
