"""The four roles, and what each is for in words for the people page."""

from __future__ import annotations

ROLES = ("approver", "support", "admin", "auditor")

WHAT_FOR = {
    "approver": "Decides proposals and deals with what a person must look at.",
    "support": "Searches the log and reads stories, with values masked.",
    "admin": "Runs the installation: people, endpoints, the stop switch.",
    "auditor": "Reads everything, changes nothing.",
}
