"""Words before a number that say what it is."""

import re

_RESIDENT = r"주민|외국인|등록\s?번호|(?i:\brrn\b|resident|registration n|alien|\bfrn\b)"
_BANKS = r"신한|국민|우리|하나|기업|농협|수협|신협|산업|제일|씨티|카카오|토스|케이|우체국|새마을|KB|NH|IBK|SC|KDB"
_ACCOUNT = (
    r"계좌|은행|예금|입금|송금|이체|농협|신협|새마을금고|카카오뱅크|토스뱅크"
    r"|(?i:bank account|account n|acct)"
)
RESIDENT_WORDS = re.compile(_RESIDENT)
SSN_WORDS = re.compile(r"(?i:\bssn\b|social.?security)")
PHONE_WORDS = re.compile(r"(?i:\btel\b|phone|mobile|\bfax\b|call)|전화|연락처|휴대|핸드폰|팩스")
ACCOUNT_WORDS = re.compile(_ACCOUNT)
BANK_BEFORE = re.compile(rf"(?<![가-힣A-Za-z])(?:{_BANKS})[ :]{{0,3}}$")
"""A bank that stands right before a number; most of the names are ordinary words, too."""
ANY_SHAPE_WORDS = re.compile(f"{_RESIDENT}|{_ACCOUNT}|(?<![가-힣A-Za-z])(?:{_BANKS})")
"""Words after which the shape of a number does not matter."""
