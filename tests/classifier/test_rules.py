from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from services.classifier.classifying import answered, why_parked
from services.classifier.asking import Asked
from services.classifier.context import Context
from services.classifier.guard import admissible
from services.classifier.intents import language_of
from services.classifier.rules import MAKER, answer_by_rules
from services.classifier.shortcuts import shortcut
from shared.domain.classification import ClassificationSchema
from shared.domain.schema import dump, load
from tests.classifier import examples as E
