"""Words around a value that say whether it is new, old, temporary or somebody else's."""

from __future__ import annotations

import re
from enum import StrEnum

_I = re.IGNORECASE


class Role(StrEnum):
    """What a value in a text is, judged by the clause it stands in."""

    REPLACED = "replaced"
    STATED = "stated"
    REACH = "reach"
    MENTIONED = "mentioned"
    OLD = "old"
    FOREIGN = "foreign"


# Cues before a value; of several the last one before it counts.
_BEFORE = re.compile(
    r"(?P<old>\b(?:old|former|previous)\b|\binstead of\b|\brather than\b|\bno longer\b|\bnot\b|"
    r"\bwas\b|\bused to be\b|\bdelete\b|\bremove\b|\bfrom\b(?! now)|\breplac(?:es|ing)\b|"
    r"\bcurrently\b|"
    r"\balte[nrsm]?\b|\b(?:an)?statt\b|\bnicht mehr\b|\bbisher\w*|\bfrühere?\w*|\blösch\w*|\bvon\b|"
    r"\bersetzt\b|\bancien\w*|\bau lieu de\b|\bremplace\b|\bantigu\w+|\ben (?:vez|lugar) de\b|"
    r"\boude?\b|\bin plaats van\b)"
    r"|(?P<new>\bnew\b|\bnow\b|\bchanged?\b[^.\n]{0,30}\bto\b|\bplease (?:only )?(?:use|note|"
    r"update)\b|"
    r"\bswitched to\b|\bfrom now on\b|\bupdated?\b|\bto:?\s*$|\bwith:?\s*$|"
    r"\bneue[nrsm]?\b|\bneu\b|\bjetzt\b|\bnun\b|\bab sofort\b|\bkünftig\b|\bnur noch\b|\blautet\b|"
    r"\bgeändert\b|\bauf:?\s*$|\bnouve\w+|\bdésormais\b|\bmaintenant\b|\bnuev[oa]\b|"
    r"\bahora\b|\bnieuwe?\b|\bvoortaan\b)"
    r"|(?P<reach>\bcall (?:me|us)\b|\breach (?:me|us)\b|\bcontact (?:me|us)\b|\bring (?:me|us)\b|"
    r"\btext me\b|\bmy (?:number|phone|mobile|cell|e-?mail)\b|\bour (?:number|phone|e-?mail)\b|"
    r"\bavailable (?:on|at|under)\b|\bwrite to (?:me|us)\b|\bemail me at\b|"
    r"\berreich\w*|\bmeine (?:nummer|telefonnummer|handynummer|mail|e-?mail)\w*|"
    r"\bruf\w* (?:mich|uns)\b|"
    r"\bunter\b|\brückruf\b|\bjoindre\b|\bmon numéro\b|\bllám\w+|\bmi número\b|\bbereikbaar\b|"
    r"\bmijn nummer\b)",
    _I,
)
_OLD_AFTER = re.compile(
    r"^[\s,)]*(?:\(?(?:old|alt|alte)\)?\b|(?:is|was|will be|has been|are|number is|address is) "
    r"(?:no longer|not|out of|disconnected|cancelled|switched off|obsolete|gone|old|my old|dead)|"
    r"no longer|does(?:n't| not) (?:work|exist)|stopped working|any ?more|"
    r"(?:gilt|ist|funktioniert|geht|existiert|wird|stimmt)[^.\n]{0,20}\b(?:nicht mehr|ungültig|"
    r"abgeschaltet|alt)|nicht mehr|n'est plus|ne fonctionne plus|ya no|is niet meer|to\b|auf\b)",
    _I,
)
_IS_NEW_AFTER = re.compile(
    r"^[\s,)]*(?:is (?:my|our|the) (?:new|current)|ist (?:meine|unsere|die) neue|"
    r"est (?:mon|ma|notre) nouve)",
    _I,
)
_NEW_AFTER = re.compile(
    r"^[\s,)]*(?:\(?new\b|instead\b|from now on|going forward|ab sofort|\(?neu\)?\b)", _I
)
_INSTEAD_AFTER = re.compile(r"^[^.\n]{0,40}\b(?:instead of|rather than|(?:an)?statt|au lieu)\b", _I)
_FOREIGN = re.compile(
    r"\b(?:my|his|her|our|their|the|a|mein\w*|unser\w*|ihr\w*) (?:\w+ )?(?:wife|husband|partner|"
    r"colleague|co-?worker|assistant|secretary|neighbou?r|son|daughter|mother|father|brother|sister|"
    r"friend|boss|tenant|landlord|lawyer|solicitor|doctor|bank|supplier|competitor|frau|mann|kolleg\w+|"
    r"assistent\w*|nachbar\w*|sohn|tochter|mutter|vater|bruder|schwester|freund\w*|chef\w*|mieter\w*|"
    r"vermieter\w*|anwalt|bank|lieferant\w*)(?:'s)?\b|"
    r"\b(?:invoice|order|ref(?:erence)?|ticket|customer|account|tax|vat|iban|serial|tracking|model|"
    r"quote|job|fax|rechnungs?|auftrags?|kunden|bestell|angebots?|steuer|konto)"
    r"[-\s]?(?:no\.?|number|nr\.?|nummer|id|#)?\s*[:#]?\s*$",
    _I,
)
_TEMPORARY = re.compile(
    r"\b(?:temporar\w+|for (?:today|now|this week|the moment)|until (?:\w+day|next|tomorrow|\d)|"
    r"this week only|today only|on holiday|while I(?:'m| am)|during my|in an emergency|"
    r"vorübergehend|nur heute|diese woche|bis (?:\w+tag|morgen|zum|\d)|im urlaub|während)\b",
    _I,
)
_CLAUSE_START = re.compile(r"(?:[.!?;](?=\s)|\n\s*\n|\n(?=\s*[-*•]))")
_REACHED_BACK = 140


def clause_around(text: str, start: int, end: int) -> tuple[str, str]:
    """What stands before and after ``text[start:end]`` in its sentence."""
    left = text[max(0, start - _REACHED_BACK) : start]
    breaks = list(_CLAUSE_START.finditer(left))
    if breaks:
        left = left[breaks[-1].end() :]
    right = text[end : end + _REACHED_BACK]
    stop = _CLAUSE_START.search(right)
    return left, right[: stop.start()] if stop else right


def role_of(text: str, start: int, end: int) -> Role:
    """What ``text[start:end]`` is, by the words around it."""
    left, right = clause_around(text, start, end)
    if _FOREIGN.search(left):
        return Role.FOREIGN
    if _TEMPORARY.search(left) or _TEMPORARY.search(right[:60]):
        return Role.MENTIONED
    if _IS_NEW_AFTER.match(right):
        return Role.STATED
    if _OLD_AFTER.match(right):
        return Role.OLD
    cues = [match.lastgroup for match in _BEFORE.finditer(left)]
    last = cues[-1] if cues else None
    if last == "old":
        return Role.OLD
    if _NEW_AFTER.match(right):
        return Role.STATED
    if last == "new":
        return Role.REPLACED if _INSTEAD_AFTER.match(right) else Role.STATED
    if last == "reach":
        return Role.STATED if "new" in cues else Role.REACH
    return Role.MENTIONED
