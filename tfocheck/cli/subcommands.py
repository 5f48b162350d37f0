"""What subcommands there are."""

from __future__ import annotations

SUBCOMMANDS = {
    "check": "Grade servers; can be left out, unless a target is called like a command.",
    "compare": "Say what changed between two JSON reports, and whether it got worse.",
    "explain": "Say what a case asks, how it is tested, and what to do about a failure.",
    "doctor": "Say from inside whether this machine's servers have Fast Open, and what to change.",
    "demo": "Grade this machine's own kernel in a lab; needs neither a server nor root.",
    "schema": "Print the JSON Schema of the reports that --json or --jsonl write.",
    "lab": "Real servers in network namespaces on this machine, to grade or to try things on.",
}
