"""Reports: one module a format, all of them made from a ``grade.Judgement``."""
