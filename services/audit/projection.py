"""From the ledger to the search index: entry by entry, in order, until nothing is missing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from services.audit.deps import Deps
from services.audit.documents import Context, document
from services.audit.erase import erased_seqs
from services.audit.reader import Logged, after, of_chains_before, size
from services.audit.search.index import Document, Position, Sum
from shared.db import reading
from shared.faultpoints import reached

BATCH = 1000
# Of four to eight thousand ordinary chains, and of fewer where senders make theirs large.
REMEMBERED_KEYS = 40_000


@dataclass(eq=False)
class Contexts:
    """What is known of each chain so far; what was forgotten is read again from the ledger."""

    known: OrderedDict[str, Context] = field(default_factory=OrderedDict)

    def prepare(self, deps: Deps, chains: Sequence[str], before: int) -> None:
        """Make sure that the context of each chain tells all entries below ``before``."""
        missing = [chain for chain in chains if chain not in self.known]
        for chain in missing:
            self.known[chain] = Context()
        if missing:
            with reading(deps.engine) as db:
                for logged in of_chains_before(db, deps.vault, missing, before):
                    self.known[logged.chain].absorb(logged)

    def of(self, logged: Logged) -> Context:
        context = self.known[logged.chain]
        self.known.move_to_end(logged.chain)
        return context

    def forget(self) -> None:
        """Keep the chains that were in use last, within some megabytes."""
        held = sum(len(context.keys) for context in self.known.values())
        while held > REMEMBERED_KEYS:
            _, oldest = self.known.popitem(last=False)
            held -= len(oldest.keys)


@dataclass(eq=False, kw_only=True)
class Projection:
    """One per process: remembers chains between its rounds."""

    contexts: Contexts = field(default_factory=Contexts)
    next: int = -1

    def catch_up(self, deps: Deps, told: Callable[[int], None] = lambda _: None) -> int:
        """Index everything the ledger has; returns how many entries were taken in."""
        position, taken = deps.index.stored_up_to(), 0
        if position.seq != self.next:
            # Another process, or a rebuild, moved the index: what is remembered may be ahead.
            self.contexts = Contexts()
        while entries := _read(deps, position.seq):
            chains = list(dict.fromkeys(logged.chain for logged in entries))
            self.contexts.prepare(deps, chains, position.seq)
            self.next = -1  # Until the index has these, what is remembered is ahead of it.
            documents = self._documents(entries)
            position = Position(seq=entries[-1].seq + 1, at=entries[-1].at)
            reached("audit.before_index")
            deps.index.add(documents, position)
            reached("audit.indexed")
            self.contexts.forget()
            self.next, taken = position.seq, taken + len(entries)
            told(taken)
            if len(entries) < BATCH:
                break  # Who appends more rings again.
        return taken

    def _documents(self, entries: Sequence[Logged]) -> list[Document]:
        documents = []
        for logged in entries:
            context = self.contexts.of(logged)
            context.absorb(logged)
            # What was erased is not found any more.
            if logged.body is not None:
                documents.append(document(logged, context))
        return documents


def reindex(deps: Deps, told: Callable[[int], None] = lambda _: None) -> Sum:
    """Build the index again from the ledger; until it is whole, the old one is searched."""
    with deps.index.rebuilding() as fresh:
        Projection().catch_up(replace(deps, index=fresh), told)
        # What was erased while it was read.
        fresh.erase(erased_seqs(deps))
        forget_old(replace(deps, index=fresh))
    return deps.index.sum()


def forget_old(deps: Deps) -> int:
    """Drop the months that search need not keep any more; the ledger keeps everything."""
    if not deps.search_months:
        return 0
    now = deps.clock()
    months = now.year * 12 + now.month - 1 - deps.search_months
    return deps.index.drop_before(f"{months // 12:04}-{months % 12 + 1:02}-01T00:00:00.000Z")


def ledger_size(deps: Deps) -> int:
    """`reader.size` in a transaction of its own."""
    with reading(deps.engine) as db:
        return size(db)


def _read(deps: Deps, seq: int) -> list[Logged]:
    with reading(deps.engine) as db:
        return after(db, deps.vault, seq, BATCH)
