"""Signs that a text wants to steer whoever reads it by machine, rather than tell people something.

No defence rests on this: the guard and the gate hold for every text. A hit parks the event for a
person, with the reason, and nothing is proposed from it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from shared.values import INVISIBLE

_I = re.IGNORECASE
_OBEY = r"(?:ignore|disregard|forget|override|bypass|neglect)"
_FORMER = (
    r"(?:previous|prior|above|preceding|earlier|former|foregoing|existing|original|your|all|any)"
)
_ORDERS = r"(?:instructions?|prompts?|directives?|guidelines?|rules|commands?|context|orders)"

# Each sign: the words a person is shown, pieces without which it cannot be there (a plain search
# is much faster than the pattern), and its pattern.
_SIGNS: tuple[tuple[str, tuple[str, ...], re.Pattern[str]], ...] = (
    (
        "asks to ignore earlier instructions",
        (
            "ignor",
            "disregard",
            "forget",
            "overrid",
            "bypass",
            "neglect",
            "missacht",
            "vergiss",
            "oubli",
            "olvida",
            "negeer",
        ),
        re.compile(
            rf"\b{_OBEY}\b[^.\n]{{0,30}}\b{_FORMER}\b[^.\n]{{0,30}}\b\w*{_ORDERS}\b|"
            r"\b(?:ignorier\w*|missachte\w*|vergiss)\b[^.\n]{0,40}\b(?:anweisung|vorgabe|befehl|"
            r"instruktion|regeln)|"
            r"\b(?:ignor[ea]z?|oubli(?:e|ez)|olvida)\b[^.\n]{0,40}\b(?:instruc|consignes|órdenes)|"
            r"\bnegeer\b[^.\n]{0,40}\binstructies",
            _I,
        ),
    ),
    (
        "gives new instructions to a machine",
        ("instruct", "directive", "task", "your new ", "anweisung", "aufgabe"),
        re.compile(
            r"\b(?:new|important|additional|hidden|secret|system|emergency|updated)\s+"
            r"(?:instructions?|directives?|task)\b\s*(?:[:*]|is to\b|are\b|for (?:you|the (?:ai|"
            r"assistant|model)))|\byour new (?:task|role|goal|instructions?) (?:is|are)\b|"
            r"\b(?:strictly )?(?:adhere to|follow) the following instructions?\b|"
            r"\bneue (?:anweisung|aufgabe)(?:en)?\s*:",
            _I,
        ),
    ),
    (
        "speaks to an AI or a model",
        (
            "ai",
            "a.i",
            "llm",
            "language model",
            "gpt",
            "chatbot",
            "copilot",
            "gemini",
            "claude",
            "ki",
            "sprachmodell",
            "dan",
            "unrestricted",
            "developer mode",
            "jailbroken",
        ),
        re.compile(
            r"\b(?:to|for|dear|hey|hello|attention|note to)\s*,?\s*(?:you\s*,\s*)?(?:the |any |"
            r"all )?"
            r"(?:ai|a\.i\.|llm|language model|gpt|chatgpt|chatbot|copilot|gemini|claude|"
            r"ki|sprachmodell)\b(?:\s+(?:assistants?|models?|systems?|agents?))?|"
            r"\byou are (?:now |no longer )?(?:an? |the )?(?:ai|llm|chatgpt|gpt|language model|"
            r"dan\b|unrestricted|developer mode|jailbroken)|"
            r"\b(?:as|if you are) an? (?:ai|llm|language model)\b|"
            r"\bdu bist (?:jetzt |nun )?(?:eine? )?(?:ki|ai|sprachmodell|assistent)\b",
            _I,
        ),
    ),
    (
        "asks for the prompt or hidden data",
        (
            "prompt",
            "system ",
            "hidden",
            "instructions",
            "api key",
            "credential",
            "password",
            "jailbreak",
            "developer mode",
            "anything now",
            "secret",
        ),
        re.compile(
            r"\b(?:system|initial|hidden|secret)\s+(?:prompt|message|instructions)\b|"
            r"\b(?:reveal|repeat|print|show|paste|output|dump|leak)\b[^.\n]{0,30}"
            r"\b(?:prompt|instructions|system message|api key|credentials|passwords?)\b|"
            r"\b(?:jailbreak|developer mode|do anything now|prompt injection)\b",
            _I,
        ),
    ),
    (
        "plays a role marker or tool call",
        ("<", "[", "#", "tool", "function", "system:", "assistant:", "arguments"),
        re.compile(
            r"<\|[^|>\n]{1,40}\|?>|\[/?(?:INST|SYS|SYSTEM)\]|<</?SYS>>|"
            r"(?:^|\n)\s*#{1,3}\s*\(?(?:system|assistant|user)[ _]?(?:message|prompt)?\)?\s*:?|"
            r"(?:^|\n)\s*\[?(?:system|assistant)\]?\s*(?:\(#\w+\)|:)|"
            r"</?(?:system|assistant|instructions?|information|end_of_document|tool_call|function"
            r"|interaction-config|admin|important)\b[^>]{0,80}>|"
            r"\"(?:tool_calls?|function_call|tool_name|arguments)\"\s*:|\bfunctions?\.\w+\(",
            _I,
        ),
    ),
    (
        "demands words of the answer",
        ("response", "answer", "reply", "output", "summary", "respond", "json", "set ", "mark "),
        re.compile(
            r"\b(?:include|add|append|insert|mention|put|say|write|embed)\b[^.\n]{0,60}"
            r"\b(?:in|to|at the end of|into|with) (?:your|the) (?:response|answer|reply|output|"
            r"summary)\b|"
            r"\b(?:respond|reply|answer)\b (?:only )?with (?:only |exactly |just )?"
            r"(?:the (?:following|word|phrase|text)|\")|"
            r"\b(?:your|the) (?:response|answer|output|summary) (?:must|should|has to) "
            r"(?:be|include|contain|start|end)\b|"
            r"\b(?:in|when) (?:your|producing the) (?:json|output|structured)\b|"
            r"\bset (?:the )?(?:priority|status|score|field|stage|amount|owner|"
            r"approved)\b[^.\n]{0,30}"
            r"\bto\b|\bmark (?:this|it) as (?:approved|verified|done|won|paid)\b",
            _I,
        ),
    ),
    (
        "carries script or markup that acts",
        ("<", "=", "javascript", "!["),
        re.compile(
            r"<\s*(?:script|iframe|object|embed|svg|form|meta|base|link)\b|"
            r"\bon(?:error|load|click|mouseover|focus|toggle)\s*=|javascript\s*:|"
            r"!\[[^\]\n]*\]\(\s*https?:|<!--",
            _I,
        ),
    ),
    (
        "holds terminal control codes",
        ("\x1b", "x1b", "u001b"),
        re.compile("\x1b|\\\\x1b\\[|\\\\u001b"),
    ),
)
_TAGS = re.compile("[\U000e0000-\U000e007f]|[\u202a-\u202e\u2066-\u2069]")
_BLOB = re.compile(r"[A-Za-z0-9+/]{120,}={0,2}")
_MANY_INVISIBLE = 4


def signs_of_steering(texts: Mapping[str, str]) -> tuple[str, ...]:
    """What is suspicious in the parts of an event, in words for a person; empty: nothing."""
    found: list[str] = []
    for text in texts.values():
        for words in _signs(text):
            if words not in found:
                found.append(words)
    return tuple(found)


def _signs(text: str) -> list[str]:
    found = []
    if not text.isascii() and _hides_characters(text):
        found.append("holds invisible characters")
    if len(text) >= 120 and _BLOB.search(text):
        found.append("holds an encoded block")
    low = text.lower()
    for words, pieces, pattern in _SIGNS:
        if any(piece in low for piece in pieces) and pattern.search(text):
            found.append(words)
    return found


def _hides_characters(text: str) -> bool:
    """Tag characters and direction marks never occur by accident; others only in small numbers."""
    visible_emoji = text.replace("\ufe0f", "").replace("\u200d", "").replace("\ufeff", "")
    hidden = len(INVISIBLE.findall(visible_emoji.replace("\u00ad", "").replace("\u200c", "")))
    return bool(_TAGS.search(text)) or hidden >= _MANY_INVISIBLE
