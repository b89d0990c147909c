"""The declarations of the four services."""

from __future__ import annotations

from services.audit.service import SERVICE as AUDIT
from services.classifier.service import SERVICE as CLASSIFIER
from services.ingest.service import SERVICE as INGEST
from services.writer.service import SERVICE as WRITER
from shared.service import Service

SERVICES: tuple[Service, ...] = (INGEST, CLASSIFIER, WRITER, AUDIT)
