"""Whether a text speaks to a model instead of to its readers: rules over a folded copy, in the languages that attacks come in.

A flag, not a filter: text about such attacks is flagged as well, and an attack in other words is not. What protects is that
hits are given to a model as quotations only (`retrieval.quoting`).
"""

import re

from rag_pipeline.guardrails.pii.folding import fold

INJECTION_VERSION = 1
"""Part of what makes chunks: raise it when a rule changes."""

_OLD = r"(?:previous|prior|above|earlier|preceding|foregoing|system|initial|original|existing|other)"
_ORDERS = r"(?:instructions?|prompts?|rules|directions|directives|guidelines|commands|orders|safety (?:rules|guidelines))"
_MODEL = (
    r"(?:ai|a\.i\.|llm|large language model|language model|chat ?bot|(?:ai|virtual|language) assistant"
    r"|gpt|chatgpt|claude|gemini|copilot)"
)
_GOODS = (
    r"(?:(?:the |this |our |all |any |every |entire |whole |full )*"
    r"(?:conversations?|chat (?:history|log)|context window|system prompt|api keys?|credentials|passwords?|secrets"
    r"|user(?:'s)? (?:data|questions?|messages?|input)))"
)
_SET_ASIDE = ("ignore", "disregard", "forget", "override", "bypass", "discard", "neglect", "follow", "obey")
_ORDER_WORDS = ("instruction", "prompt", "rules", "direction", "directive", "guideline", "command", "orders", "said", "told")
_WEB = ("http",)
_HOLES = ("{", "[", "<", "%7b", "$(", "insert", "secret", "conversation", "history", "prompt")

_RULES: tuple[tuple[tuple[tuple[str, ...], ...], str], ...] = (
    # Set aside what was said before.
    (
        (_SET_ASIDE, _ORDER_WORDS),
        rf"\b(?:ignore|disregard|forget|override|bypass|discard|neglect)\b(?:\s+(?:all|any|every|each|of|the|these|those|your|my|and))*"
        rf"\s+{_OLD}(?:\s+(?:and|or|system|user|developer|safety|{_OLD}))*\s+{_ORDERS}\b",
    ),
    (
        (_SET_ASIDE, _ORDER_WORDS),
        rf"\b(?:ignore|disregard|forget)\s+(?:all\s+|everything\s+)(?:of\s+)?(?:the\s+|your\s+|that\s+)?"
        rf"(?:{_ORDERS}|was said|you were told)\b",
    ),
    (
        (_SET_ASIDE, _ORDER_WORDS),
        rf"\b(?:do not|don't|stop|never)\s+(?:follow|obey|following|obeying)\s+(?:the\s+|your\s+|any\s+)?{_OLD}\s+{_ORDERS}\b",
    ),
    # Be somebody else.
    (
        (("you are now",),),
        r"\byou are now\s+(?:an?\s+|in\s+|the\s+)?(?:dan\b|jailbroken|unrestricted|unfiltered|developer mode|evil|free from)",
    ),
    ((("enter", "enable", "activate"), (" mode",)), r"\b(?:enter|enable|activate)\s+(?:developer|dan|god|jailbreak)\s+mode\b"),
    ((("you are", "you're"),), rf"\b(?:if|since|when|as)\s+you(?:'re| are)\s+(?:an?\s+|the\s+)?{_MODEL}\b"),
    (
        (("attention", "note to", "message", "instruction"),),
        rf"\b(?:attention|note to|message (?:to|for)|instructions? (?:to|for))\s*:?\s*(?:all\s+|any\s+|the\s+)?{_MODEL}s?\b"
        r"\s*[:,]",
    ),
    # Tell what nobody may know, or send it away.
    (
        (("system", "hidden", "initial", "secret", "internal"), ("prompt", "instruction", "message")),
        r"\b(?:reveal|print|repeat|output|leak|disclose|show)\b(?:\s+(?:me|us|to|the|your|entire|full|whole|own))*"
        r"\s+(?:system|hidden|initial|secret|internal)\s+(?:prompt|instructions|message)\b",
    ),
    (
        (("http", "url", "@"),),
        rf"\b(?:send|post|forward|upload|exfiltrate|e-?mail|transmit|append|encode)\s+{_GOODS}\b[^.\n]{{0,80}}"
        r"(?:https?://|\burl\b|[\w.+-]+@[\w-]+\.)",
    ),
    (
        (("![",), _WEB, _HOLES),
        r"!\[[^\]\n]{0,200}\]\(https?://[^)\s]{0,300}[?&/=#](?:\{|\[|<|%7b|\$\{|\$\(|insert|secret|conversation|history|prompt)",
    ),
    (
        (("<img",), _WEB, _HOLES),
        r"<img\b[^>\n]{0,200}\bsrc\s*=\s*[\"']?https?://[^\"'>\s]{0,300}"
        r"[?&=](?:\{|\[|%7b|\$\{|insert|secret|conversation|history|prompt)",
    ),
    # Play a part of the conversation.
    ((("<|",),), r"<\|(?:im_start|im_end|system|assistant|endoftext|start_header_id|eot_id)\|>"),
    ((("inst]", "sys>>"),), r"\[/?INST\]|<</?SYS>>"),
    (
        (("system", "developer"), ("prompt", "instruction", "message")),
        r"^\s*(?:#{1,4}\s*)?(?:begin|start of|end of|new)\s+(?:system|developer)\s+(?:prompt|instructions?|message)s?\b",
    ),
    ((("instruction",),), r"^\s*(?:#{1,4}\s*)?(?:new|updated|real|actual)\s+instructions?\s*:"),
    # Korean, Chinese, Japanese, German, Spanish, French.
    (
        (("무시", "잊", "마", "폐기", "버"), ("지시", "명령", "지침", "프롬프트", "규칙", "안내")),
        r"(?:이전|앞선|앞서|위의|위에|기존|지금까지)\S{0,4}\s*(?:\S{1,6}\s*){0,3}?(?:지시|명령|지침|프롬프트|규칙|안내)\S{0,5}\s*"
        r"(?:\S{1,4}\s*){0,2}?(?:무시|잊|따르지\s*마|폐기|버려|버리)",
    ),
    (
        (("시스템", "숨겨진", "내부"), ("프롬프트", "지시", "명령")),
        r"(?:시스템|숨겨진|내부)\s*(?:프롬프트|지시문|지시사항|명령어)\S{0,3}\s*(?:전부\s*|모두\s*|그대로\s*)?"
        r"(?:출력|공개|보여|알려|유출|무시|누설)",
    ),
    (
        (("너는", "넌", "당신은"),),
        r"(?:너는|넌|당신은)\s*(?:이제|지금)(?:부터|는)?\s*[^.\n]{0,20}(?:DAN|탈옥|제한\s*없는|개발자\s*모드)",
    ),
    (
        (("忽略", "無視", "无视", "忘"),),
        r"(?:忽略|無視|无视|忘记|忘記)(?:掉|所有|全部|你)*(?:之前|以上|上述|先前|前面|此前)的?(?:所有|全部)?(?:指令|指示|提示词?|规则|規則)",
    ),
    (
        (("無視", "忘れ"),),
        r"(?:以前|これまで|上記|前|先)の(?:すべての|全ての|あらゆる)?(?:指示|命令|プロンプト|ルール)(?:を|は)?(?:すべて|全て)?(?:無視|忘れ)",
    ),
    (
        (("ignorier", "vergiss", "vergessen", "missachte"),),
        r"\b(?:ignoriere|vergiss|missachte|ignorieren sie|vergessen sie)\s+(?:alle\s+|die\s+|deine\s+|s[aä]mtliche\s+)*"
        r"(?:vorherigen|bisherigen|obigen|fr[uü]heren|vorigen)\s+(?:anweisungen|befehle|regeln|instruktionen)\b",
    ),
    (
        (("ignor", "olvid"), ("instrucciones", "reglas", "rdenes")),
        r"\b(?:ignora|olvida|ignore|olvide)\s+(?:todas\s+)?(?:las\s+)?(?:instrucciones|[oó]rdenes|reglas)\s+(?:anteriores|previas)\b",
    ),
    (
        (("ignore", "oubli"), ("instructions", "consignes", "gles")),
        r"\b(?:ignore[zr]?|oublie[zr]?)\s+(?:toutes\s+)?(?:les\s+)?(?:instructions|consignes|r[eè]gles)"
        r"\s+(?:pr[eé]c[eé]dentes|ci-dessus|ant[eé]rieures)\b",
    ),
)
"""Words of which one of each group has to stand in the text, in small letters, and the rule that then looks closely."""
_COMPILED = tuple((needles, re.compile(rule, re.IGNORECASE | re.MULTILINE)) for needles, rule in _RULES)
_LINE_BREAK = re.compile(r"(?<!\n)\n(?!\n)")


def speaks_to_a_model(text: str) -> bool:
    """Whether some rule finds an instruction aimed at a model, however its letters are disguised and its lines broken."""
    folded = fold(text).text
    small = _LINE_BREAK.sub(" ", folded).lower()
    rules = [rule for needles, rule in _COMPILED if all(any(needle in small for needle in group) for group in needles)]
    if not rules:
        return False
    lines = _LINE_BREAK.sub(" ", folded)
    return any(rule.search(folded) or rule.search(lines) for rule in rules)
