"""What is talked about: cases, verdicts, targets, plans and reports. Pure: no IO, no clock."""
