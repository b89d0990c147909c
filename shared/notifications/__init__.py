"""Telling people what happened: alarms, channels, what is due, and sending it once."""

from __future__ import annotations
