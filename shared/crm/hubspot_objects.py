"""The questions that are asked of HubSpot's object API, in pages and batches of its sizes.

https://developers.hubspot.com/docs/guides/crm/understanding-the-crm
https://developers.hubspot.com/docs/api-reference/search/guide
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from shared.crm.client import Client
from shared.crm.hubspot_access import Access, heed, judged
from shared.crm.transport import Answer, path_of
from shared.errors import CRMUnavailable, NotFound, Rejected

Row = Mapping[str, Any]

RECORD_PATH: Final = "/crm/objects/{version}/{type}/{id}"
BATCH_PATH: Final = "/crm/objects/{version}/{type}/batch/read"
_SEARCH_PATH = "/crm/objects/{version}/{type}/search"
_LINKS_PATH = "/crm/associations/{version}/{type}/{other}/batch/read"
_PROPERTIES_PATH = "/crm/properties/{version}/{type}"
_PIPELINES_PATH = "/crm/pipelines/{version}/{type}"
_OWNERS_PATH = "/crm/owners/{version}"
# A longer query is a 414 somewhere on the way; then the names travel in a body.
LONGEST_QUERY: Final = 6000
_BATCH = 100
_BATCH_WITH_HISTORY = 50
_PAGE = 100
_OWNERS_PAGE = 500
# Of any list: at 100 rows a page that is the end of HubSpot's own search.
MOST_PAGES: Final = 100


class Objects:
    """Rows as HubSpot gives them. Raises as `Client` does, and `KeyError` and the like for others.

    ``timeout`` is in seconds, for a whole exchange.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self._client = Client(
            access.url,
            access.authorization,
            timeout=access.timeout,
            pace=access.pace,
            judge=judged,
            heed=heed,
        )

    def properties(self, object_type: str) -> list[Row]:
        return self._rows(self._client.get(self._path(_PROPERTIES_PATH, type=object_type)))

    def pipelines(self, object_type: str) -> list[Row]:
        return self._rows(self._client.get(self._path(_PIPELINES_PATH, type=object_type)))

    def owners(self) -> Iterator[Row]:
        """The people of the account; of more than a few thousand the first."""
        after: str | None = None
        for _ in range(MOST_PAGES):
            params = {"limit": str(_OWNERS_PAGE), **({"after": after} if after else {})}
            answer = self._client.get(self._path(_OWNERS_PATH), params)
            yield from self._rows(answer)
            if (after := after_of(answer.data)) is None:
                return

    def one(
        self, object_type: str, id_: str, names: Sequence[str], *, links: Sequence[str] = ()
    ) -> Row:
        """One record with these properties, and the ids of what these kinds link to it.

        Raises `NotFound` also for one that was merged: HubSpot then answers with the other record.
        """
        path = self._path(RECORD_PATH, type=object_type, id=id_)
        # A list without a name in it is left out: an empty value is not one of them.
        lists = {"properties": ",".join(names), "associations": ",".join(links)}
        params = {"archived": "false", **{name: text for name, text in lists.items() if text}}
        if len(lists["properties"]) <= LONGEST_QUERY:
            row = self._client.get(path, params).data
        else:
            row = next(iter(self.batch(object_type, [id_], names)), None)
            if row is None:
                raise NotFound(f"HubSpot has no {object_type} {id_}")
        if str(row["id"]) != id_:
            raise NotFound(f"{object_type} {id_} was merged into {row['id']}")
        return dict(row)

    def batch(
        self,
        object_type: str,
        ids: Sequence[str],
        names: Sequence[str],
        *,
        by: str | None = None,
        history: Sequence[str] = (),
    ) -> list[Row]:
        """Those of the records that are there; ``by`` is a unique property that the ids are of."""
        size = _BATCH_WITH_HISTORY if history else _BATCH
        found: list[Row] = []
        for at in range(0, len(ids), size):
            body = batch_body(ids[at : at + size], names, by=by, history=history)
            found += rows_of(self._client.query(self._path(BATCH_PATH, type=object_type), body))
        return found

    def search(
        self,
        object_type: str,
        groups: Sequence[Sequence[Row]],
        names: Sequence[str],
        *,
        sort: str = "hs_object_id",
    ) -> list[Row]:
        """Every record that all filters of one of the groups find, by an index that lags.

        Raises `Rejected` beyond the 10,000 that HubSpot gives.
        """
        question = {
            "filterGroups": [{"filters": list(filters)} for filters in groups],
            "properties": list(names),
            "sorts": [sort],
        }
        return list(self._searched(object_type, question))

    def newest(self, object_type: str, names: Sequence[str], limit: int, *, by: str) -> list[Row]:
        """The records with the latest times in the property ``by``, by an index that lags."""
        question = {
            "filterGroups": [],
            "properties": list(names),
            "sorts": [f"-{by}"],
        }
        return list(islice(self._searched(object_type, question), limit))

    def _searched(self, object_type: str, question: Row) -> Iterator[Row]:
        path = self._path(_SEARCH_PATH, type=object_type)
        after: str | None = "0"
        for _ in range(MOST_PAGES):
            self._access.search_pace.take(self._access.timeout)
            answer = self._client.query(path, {**question, "limit": _PAGE, "after": after})
            yield from self._rows(answer)
            if (after := after_of(answer.data)) is None:
                return
        raise Rejected(f"HubSpot's search gives no more than {MOST_PAGES * _PAGE} records")

    def links(self, object_type: str, ids: Sequence[str], other: str) -> dict[str, list[str]]:
        """Per record the ids of everything of another kind that is linked to it."""
        found: dict[str, list[str]] = {id_: [] for id_ in ids}
        asked: list[dict[str, str]] = [{"id": id_} for id_ in ids]
        path = self._path(_LINKS_PATH, type=object_type, other=other)
        calls = MOST_PAGES + len(ids) // _BATCH
        while asked:
            if (calls := calls - 1) < 0:
                raise CRMUnavailable(f"HubSpot's list of linked {other} has no end")
            rows = rows_of(self._client.query(path, {"inputs": asked[:_BATCH]}))
            asked = asked[_BATCH:]
            for row in rows:
                id_ = str(row["from"]["id"])
                found[id_] += [str(to["toObjectId"]) for to in row["to"]]
                if (after := after_of(row)) is not None:
                    asked.append({"id": id_, "after": after})
        return {id_: list(dict.fromkeys(others)) for id_, others in found.items()}

    def linked(self, row: Row, object_type: str, other: str) -> list[str]:
        """The ids of one kind that `one` brought along, asked anew where they were too many."""
        page = row.get("associations", {}).get(other)
        if page is None:
            return []
        if after_of(page) is not None:
            return self.links(object_type, [str(row["id"])], other)[str(row["id"])]
        return list(dict.fromkeys(str(link["id"]) for link in page["results"]))

    def _path(self, template: str, **ids: str) -> str:
        return path_of(template, version=self._access.version, **ids)

    @staticmethod
    def _rows(answer: Answer) -> list[Row]:
        return list(answer.data["results"])


def batch_body(
    ids: Sequence[str],
    names: Sequence[str],
    *,
    by: str | None = None,
    history: Sequence[str] = (),
) -> dict[str, Any]:
    """What a batch read asks: both lists of properties are required, one of them may be empty."""
    return {
        "properties": list(names),
        "propertiesWithHistory": list(history),
        "inputs": [{"id": id_} for id_ in ids],
        **({"idProperty": by} if by else {}),
    }


def rows_of(answer: Answer) -> list[Row]:
    """The rows of a batch; one that is not there is left out, any other trouble is the batch's.

    Raises `Rejected` for a row that was refused, `CRMUnavailable` for a batch that is not done.
    """
    for error in answer.data.get("errors") or ():
        if error.get("category") != "OBJECT_NOT_FOUND":
            raise Rejected(f"HubSpot refused a part of the batch: {str(error['message'])[:200]}")
    if answer.data["status"] != "COMPLETE":
        raise CRMUnavailable("HubSpot has not finished the batch")
    return list(answer.data["results"])


def after_of(page: Row) -> str | None:
    after = page.get("paging", {}).get("next", {}).get("after")
    return None if after is None else str(after)
