"""Whether the final answer of a response is mathematically equal to the record's answer: a reward of 1 or 0.

    function = tools/rewards/math_answer.py:reward

The final answer is the last \\boxed{...} or `#### ...`, whichever comes later; else what follows the last "the
answer is"; else the last formula or number. None at all is a 0; what stands before </think> counts only where
nothing follows. Two answers are equal when they are the same number (thousands separators, percent, `5 million`,
fractions, mixed numbers, scientific notation; a unit only one of them has is left aside), the same choice, or what
math-verify finds equal: expressions, equations, intervals, sets, tuples, matrices. Brackets, relations, bases, dots
and the case of a variable are part of an answer. A record without an answer is an error. What cannot be told within LIMIT_SECONDS of computing, in a process of its own, is not equal.

needs: pip install math-verify
by hand: math_answer.py RESPONSE ANSWER    prints both final answers and the reward
"""
import atexit
import json
import os
import re
import resource
import selectors
import subprocess
import sys
import time
from fractions import Fraction

try:
    import math_verify
except ImportError as missing:
    raise ImportError("math_answer.py needs the package math-verify, which this Python does not have: "
                      f"{sys.executable} -m pip install math-verify (tools/setup.sh --tests has it in "
                      "build/rewards: PYTHONPATH=build/rewards)") from missing

LIMIT_SECONDS = 5  # of computing, for each pair
LIMIT_WAITING = 60  # of any time: a machine that is busy
LIMIT_BYTES = 4 << 30
LONGEST = 2000  # characters of a final answer

# ------------------------------------------------------------------------------- the final answer

BRACE = re.compile(r"\\f?boxed\s*\{?|(?<!\\)[{}]")
PHRASE = re.compile(r"(final\s+answer|answer|result|solution|option|choice)s?\b\s*(?:is|are|=|:)+\s*:?\s*"
                    r"(?:(?:therefore|thus|then|hence|exactly|approximately|about|simply|just|equal\s+to)\b,?\s*)*",
                    re.IGNORECASE)
VERDICT = re.compile(r"(?:in)?(?:correct|valid|complete)\b|right\b|wrong\b|verified\b|unique\b|as follows|below\b", re.IGNORECASE)
OPTION = re.compile(r"\b(?:option|choice)\s+(?:\(([A-Ja-j])\)|([A-J])(?![\w']))", re.IGNORECASE)
FORMULA = re.compile(r"\$\$(.+?)\$\$|\$(.+?)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
NUMBER = re.compile(r"[-+]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?(?:\s*/\s*\d+)?\s*(?:\\?%)?")
COMPUTED = re.compile(r"(?:^|[\s$])[\d.,()]+\s*[-+*/×÷][-+*/×÷\d.,()\s$]*=\s*([-+.\d$][^=]*)\Z")
MONEY = re.compile(r"[^$]*(?:(?<![\d\w)$}])\$(?=\d)[^$]*)+\Z")
SAID = re.compile(r"((?:[A-Za-z][A-Za-z']*[\s,:]+)+)(?:=\s*)?(\\?[$€£]?\s*[-+]?\d[\d,]*(?:\.\d+)?(?:/\d+)?\s*(?:\\?%|°)?"
                  r"(?:\s*(?:(?:square|cubic)\s+)?[A-Za-z]+(?:\s+(?:per|squared|cubed)\b(?:\s+[A-Za-z]+)?)?)?)\Z")
UNSAID = re.compile(r"\b(?:not|no|never|less|more|fewer|least|most|than|over|under|above|below|between|step|part|case|"
                    r"sin|cos|tan|cot|sec|csc|log|ln|exp|sqrt|pi|mod|or|and)\b", re.IGNORECASE)
LEAD = re.compile(r"\A(?:therefore|thus|hence|so|then|finally|we get|we have)\b,?\s+(?=\S*\s*=)", re.IGNORECASE)
TAIL = re.compile(r"(?<=\w) (?:in total|in all|altogether|together|overall|left|remaining|now|today)\Z")
CHOICE_AT_END = re.compile(r"(?:^|[\s(*])\(?([A-J])\)?[.)*]*\s*$")


def boxed(text):
    """Content and place of the last \\boxed{...} that is closed, or None."""
    last, opened = ("", -1), []
    for found in BRACE.finditer(text):
        word = found.group()
        if word == "}":
            begin, place = opened.pop() if opened else (0, -1)
            if place > last[1]:
                last = text[begin:found.start()], place
        elif word.endswith("{"):
            opened.append((found.end(), found.start() if len(word) > 1 else -1))
        elif found.end() < len(text) and found.start() > last[1]:  # \boxed 5
            last = re.compile(r"[^\s$]*").match(text, found.end()).group(), found.start()
    return last if last[1] >= 0 else None


def final_answer(text):
    """What the text gives as its answer, or None: what was thought counts only where nothing follows."""
    thought, _, said = text.rpartition("</think>")
    return answer_in(said) or (answer_in(thought) if thought else None)


def answer_in(text):
    box = boxed(text)
    marked = text.rfind("####")
    if box and box[1] >= marked:
        answer = box[0]
    elif marked >= 0:
        answer = text[marked + 4:].strip().split("\n")[0]
    else:
        answer = plain_answer(text)
    answer = answer.strip() if answer else ""
    return answer[:LONGEST] if answer else None


def plain_answer(text):
    rest = after_phrase(text)
    if rest:
        formula = FORMULA.match(rest)
        if formula and not MONEY.match(sentence(rest)) and not re.match(r"\s*(?:and|or|,)\s", rest[formula.end():]):
            return rest[:formula.end()] + percent_after(rest[formula.end():])
        option = OPTION.fullmatch(sentence(rest).strip("* "))
        return option.group(1) or option.group(2) if option else computed(sentence(rest))
    lines = [line for line in text.strip().split("\n") if line.strip()]
    if not lines:
        return None
    last = LEAD.sub("", TAIL.sub("", lines[-1].strip().strip("*").rstrip(".")))
    formulas = list(FORMULA.finditer(last))
    if formulas and not MONEY.match(last):
        return formulas[-1].group(0) + percent_after(last[formulas[-1].end():])
    options = OPTION.findall(last)
    if options:
        return options[0][0] or options[0][1] if len(options) == 1 else None
    if len(last) <= 60:
        said = SAID.match(last)
        if said and not UNSAID.search(last):
            return said.group(2)
        if not re.search(r"[A-Za-z]{3,}\s+[A-Za-z]{3,}", last):
            return computed(last)
    choice = CHOICE_AT_END.search(last)
    if choice:
        return choice.group(1)
    found = list(NUMBER.finditer(text))
    if found:
        return found[-1].group(0) + AFTER_NUMBER.match(text, found[-1].end()).group()
    return last if len(last) <= 60 else None


def after_phrase(text):
    """What follows the last "the answer is"; without one, the last "the solution is" or the like."""
    best = ""
    for found in reversed(list(PHRASE.finditer(text))):
        rest = text[found.end():found.end() + 2 * LONGEST].strip()
        if rest and not VERDICT.match(rest):
            if found.group(1).lower().endswith("answer"):
                return rest
            best = best or rest
    return best


def computed(text):
    """The result of `5 + 6 = 11`; another text as it is."""
    found = COMPUTED.search(text)
    return found.group(1) if found else text


def percent_after(rest):
    return "%" if re.match(r"\s*(?:\\?%|percent\b)", rest) else ""


def sentence(rest):
    """Up to the end of the sentence or line; a point between digits ends nothing."""
    return re.split(r"\.(?!\d)|\n|;|, (?=which|so|because|since|and so)|\bbecause\b", rest, maxsplit=1)[0]


# ------------------------------------------------------------------------------------ plain forms

UNITS = {name: unit for unit, names in {
    "m": "m meter meters metre metres", "cm": "cm centimeter centimeters centimetre centimetres",
    "mm": "mm millimeter millimeters", "km": "km kilometer kilometers kilometre kilometres",
    "in": "in inch inches", "ft": "ft foot feet", "yd": "yd yard yards", "mi": "mi mile miles",
    "s": "s sec secs second seconds", "min": "min mins minute minutes", "h": "h hr hrs hour hours",
    "day": "day days", "week": "week weeks", "month": "month months", "year": "year years",
    "g": "g gram grams", "kg": "kg kilogram kilograms", "mg": "mg milligram milligrams", "lb": "lb lbs pound pounds",
    "oz": "oz ounce ounces", "l": "l liter liters litre litres", "ml": "ml milliliter milliliters",
    "$": "$ dollar dollars usd", "cent": "cent cents", "€": "€ euro euros eur", "£": "£ gbp",
    "°": "° degree degrees deg", "rad": "rad radian radians", "mph": "mph", "km/h": "km/h kph", "m/s": "m/s",
    "unit": "unit units", "person": "person people persons", "apple": "apple apples", "item": "item items",
}.items() for name in names.split()}
POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
DIGITS = re.compile(r"\d")
PLAIN = re.compile(r"([-+]?)(\d[\d,]*)?(?:\.(\d+))?(?:[eE]([-+]?\d+))?\Z")
THOUSANDS = re.compile(r"[-+]?\d{1,3}(,\d{3})+(\.\d+)?([eE][-+]?\d+)?\Z")
GROUPS = re.compile(r"[-+]?\d{1,3}(?:(?: +\d{3})+|(?:_\d{3})+)(?:\.\d+)?\Z")
MULTIPLES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
MULTIPLE = re.compile(r"(?<![\w.,/^}\\])(\d[\d,]*(?:\.\d+)?)\s*(\\text\s*\{\s*)?(%s)s?\b(?(2)(\s*\})?)" % "|".join(MULTIPLES))
AFTER_NUMBER = re.compile(r"(?:\s*\b(?:%s)s?\b)*" % "|".join(MULTIPLES))
TEXT = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox|operatorname|emph)\s*\{([^{}]*)\}")


def bare(text):
    """Without what surrounds an answer and changes nothing."""
    text = text.strip()
    for mark in ("$$", "$"):
        if len(text) > 2 * len(mark) and text.startswith(mark) and text.endswith(mark) and \
                mark not in text[len(mark):-len(mark)]:
            text = text[len(mark):-len(mark)].strip()
    for begin, end in (("\\(", "\\)"), ("\\[", "\\]"), ("**", "**"), ("`", "`"), ('"', '"')):
        if text.startswith(begin) and text.endswith(end) and len(text) > len(begin) + len(end):
            text = text[len(begin):-len(end)].strip()
    inner = boxed(text)
    if inner and inner[1] == 0 and text.rstrip().endswith("}") and text.count("boxed") == 1:
        text = inner[0].strip()
    text = re.sub(r"(?<!\\)\\!", "", text)
    text = re.sub(r"(?<!\\)\\(?:left|right|big|Big|displaystyle|,|;|!|:| )(?![A-Za-z])", " ", text)
    text = text.replace("\\left", "").replace("\\right", "").replace("\\displaystyle", "")
    text = text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac").replace("\\cfrac", "\\frac")
    text = text.replace("−", "-").replace("–", "-").replace("×", "\\times ").replace("·", "\\cdot ")
    text = text.replace("π", "\\pi ").replace("√", "\\sqrt").replace("∞", "\\infty ").replace("~", " ")
    whole = re.fullmatch(r"\\text\s*\{([^{}]*\d[^{}]*)\}", text.strip())
    text = whole.group(1) if whole else text
    text = re.sub(r"(?<=[\d}])\s*(?:\\text\s*\{\s*per\s?cent\s*\}|\s*\bper\s?cent\b)", r"\\%", text)
    text = re.sub(r"\^\s*\{?\s*\\circ\s*\}?|\\degree\b", "°", text)
    text = re.sub(r"(?<=\d)\{,\}(?=\d)", ",", text)
    text = re.sub(r"(?<=\d)\s+,\s*(?=\d{3}\b)", ",", text) if "\\," in text else text
    return text.strip().rstrip(".").strip() if not text.strip().endswith("\\.") else text.strip()


def unit_of(words):
    """The name that a unit has here (`cm^2`), or None."""
    words = words.strip().lower().replace("\\", "").replace("{", "").replace("}", "").strip(" .")
    power = 1
    found = re.match(r"(.+?)\s*(?:\^\s*|)([23²³])\Z", words)
    if found and found.group(2):
        power = {"2": 2, "3": 3, "²": 2, "³": 3}[found.group(2)]
        words = found.group(1)
    parts = words.split()
    if len(parts) == 2 and parts[0] in POWERS:
        power, parts = POWERS[parts[0]], parts[1:]
    if len(parts) == 2 and parts[1] in ("squared", "cubed"):
        power, parts = (2 if parts[1] == "squared" else 3), parts[:1]
    parts = [p for p in parts if p not in ("of",)]
    words = " ".join(parts)
    if words in UNITS:
        return UNITS[words] + (f"^{power}" if power > 1 else "")
    per = re.match(r"(.+?)\s*(?:/|\bper\b)\s*(.+)\Z", words)
    if per and per.group(1) in UNITS and per.group(2) in UNITS:
        return f"{UNITS[per.group(1)]}/{UNITS[per.group(2)]}"
    return None


def multiplied(text):
    """5 million as 5000000, before units are looked for."""
    def product(found):
        value = decimal(found.group(1))
        if value is None:
            return found.group()
        value = value[0] * MULTIPLES[found.group(3)]
        opened = found.group(2) if found.group(2) and not found.group(4) else ""
        try:
            return (str(value) if value.denominator == 1 else str(float(value))) + opened
        except OverflowError:  # beyond what a number with a point can be here
            return found.group()

    for _ in range(3):  # 2 hundred thousand
        text = MULTIPLE.sub(product, text)
    return text


def without_unit(text):
    """The text before its unit, and the unit or None: `5\\text{ cm}^2`, `$5`, `5 apples`."""
    text = text.strip()
    money = re.match(r"([-+]?)\s*(?:\\?\$|\\text\{\$\}|(€|£))\s*(?=[\d.])", text)
    if money:
        return money.group(1) + text[money.end():], money.group(2) or "$"
    flat = TEXT.sub(lambda m: " " + m.group(1) + " ", text) if "\\" in text else text
    found = re.match(r"(.*[\d)}])\s*(°|[A-Za-z€£°][A-Za-z/€£ .]*(?:\s*\^?\s*\{?\s*[23²³]\s*\}?)?)\s*\Z", flat)
    if found and DIGITS.search(found.group(1)):
        unit = unit_of(found.group(2))
        # A letter after a digit may be a variable (5m): a unit only where a space or \text parts them.
        spaced = len(found.group(2).strip()) > 1 or found.group(2)[0] in "°€£" or \
            re.search(r"\s\Z", flat[:found.start(2)]) is not None
        if unit and spaced and "\\" not in found.group(2):
            return found.group(1).strip(), unit
        words = found.group(2).strip()
        if any(word.rstrip("s") in MULTIPLES for word in words.lower().split()):
            return text, None
        if "\\text" in text and re.fullmatch(r"[A-Za-z ./-]+", words) and spaced and \
                re.fullmatch(r"[-+\d.,\s]*", found.group(1)):
            return found.group(1).strip(), words.lower().rstrip("s")
        if rational(found.group(1)) and re.fullmatch(r"[a-z]{4,}( [a-z]{2,}){0,2}", words):
            return found.group(1).strip(), words.rstrip("s")  # 5 marbles
    return text, None


def decimal(text):
    """The number that plain digits are, and its decimals, or None."""
    text = re.sub(r"\A([-+])\s+", r"\1", text.strip())
    if GROUPS.match(text):
        text = text.replace(" ", "").replace("_", "")
    if "," in text:
        if not THOUSANDS.match(text):
            return None
        text = text.replace(",", "")
    found = PLAIN.match(text)
    if not found or not (found.group(2) or found.group(3)):
        return None
    power = int(found.group(4) or 0)
    if abs(power) > 400 or len(text) > 400:
        return None
    value = Fraction((found.group(2) or "0") + ("." + found.group(3) if found.group(3) else ""))
    value *= Fraction(10) ** power
    return (-value if found.group(1) == "-" else value), (len(found.group(3) or "") - power if found.group(3) else 0)


FRACTION = re.compile(r"([-+]?)\s*(\d+)?\s*(?:\\frac\s*(?:\{\s*([-+]?[\d.,]+)\s*\}|(\d))\s*(?:\{\s*([-+]?[\d.,]+)\s*\}|(\d))"
                      r"|(?<!\d)\(?([-+]?[\d.,]+)\)?\s*/\s*\(?([-+]?[\d.,]+)\)?)\Z")
MIXED = re.compile(r"([-+]?)\s*(\d+)\s+(?:and\s+)?(\d+)\s*/\s*(\d+)\Z")
SCIENTIFIC = re.compile(r"([-+]?[\d.,]+)\s*(?:\\times|\\cdot|\*|x)\s*10\s*(?:\^|\*\*)\s*\{?\s*([-+]?\d+)\s*\}?\Z")


def rational(text):
    """(value, decimals or None for a fraction) of a text that is a number, or None."""
    text = text.strip()
    while text.startswith("(") and text.endswith(")") and text.count("(") == 1:
        text = text[1:-1].strip()
    while text.startswith("{") and text.endswith("}") and re.fullmatch(r"\{[-+]?[\d.]+\}", text):
        return None  # a set of one
    plain = decimal(text)
    if plain:
        return plain
    mixed = MIXED.match(text)
    if mixed and int(mixed.group(4)):
        value = int(mixed.group(2)) + Fraction(int(mixed.group(3)), int(mixed.group(4)))
        return (-value if mixed.group(1) == "-" else value), None
    found = SCIENTIFIC.match(text)
    if found:
        mantissa = decimal(found.group(1))
        if mantissa and abs(int(found.group(2))) <= 400:
            return mantissa[0] * Fraction(10) ** int(found.group(2)), 0
    found = FRACTION.match(text)
    if found:
        sign, whole = found.group(1), found.group(2)
        above = decimal(found.group(3) or found.group(4) or found.group(7))
        below = decimal(found.group(5) or found.group(6) or found.group(8))
        if above and below and below[0] and not (whole and found.group(7)):
            value = above[0] / below[0] + int(whole or 0)
            return (-value if sign == "-" else value), None
    return None


def number_of(text):
    """(value, decimals, whether it is a percentage), or None."""
    percent = re.match(r"(.*?)\s*(?:\\?%|\s(?:percent|per cent)|\\text\{\s*percent\s*\})\s*\Z", text)
    value = rational(percent.group(1) if percent else text)
    return (*value, bool(percent)) if value else None


def same_number(a, b):
    """Of two number_of(). A percentage is its number and its hundredth; a rounded decimal with six decimals or
    more is the fraction that it was rounded from."""
    hundredths = [(x[0], x[0] / 100) if x[2] and not y[2] else (x[0],) for x, y in ((a, b), (b, a))]
    for u in hundredths[0]:
        for v in hundredths[1]:
            if u == v:
                return True
            for p, q, other in ((a, u, v), (b, v, u)):
                partner = b if p is a else a
                if p[1] is not None and p[1] >= 6 and partner[1] is None and \
                        abs(q - other) * 2 <= Fraction(1, 10 ** p[1]):
                    return True
    return False


# ---------------------------------------------------------------------------------------- equality

CHOICE = re.compile(r"\(?\s*([A-Ja-j])\s*\)?\s*(?:[.):,]|\Z|\s*[-:]\s)")
WORDS = re.compile(r"[A-Za-z][A-Za-z '\-]*\Z")
TOWER = re.compile(r"(\d+)\)*(?:\^|\*\*)[({]*(\d+)[)}]*(?:\^|\*\*)[({]*(\d+)")
FACTORIAL = re.compile(r"(\d+)\)*\s*!")


def words_of(text):
    return re.sub(r"\s+", " ", TEXT.sub(lambda m: m.group(1), text)).strip(" .").lower()


OTHER_CHOICE = re.compile(r"(?:\A|[^\w\s\\]|\b(?:and|or))\s*\(?(?:[B-HJ]|A(?!\s+(?!and\b|or\b|is\b)[a-z])|I(?!\s+[a-z]))(?![A-Za-z'])|"
                          r"[,;/&(]\s*[a-j]\s*(?:[,.;)]|\Z)|\b(?:and|or)\s+\(?[a-j]\b")
RELATION = re.compile(r"<|>|≤|≥|≠|\\(?:leq?|geq?|lt|gt|neq?|leqslant|geqslant)(?![A-Za-z])|!=")
UNEQUAL = re.compile(r"≠|\\neq?(?![A-Za-z])|!=")
RANGE = re.compile(r"[\[(]|\\infty|\\cup|\\mathbb|\\R\b|\\\{")
BASE = re.compile(r"(?<=\d)\s*_\s*\{?\s*(?:\\text\s*\{)?\s*(\w+)\s*\}*\Z")
PRIME = re.compile(r"[\d)]\s*(?:'|\^\s*\{?\s*\\prime)")
ELLIPSIS = re.compile(r"\\[lc]?dots(?![A-Za-z])|\.\.\.|…")
HALF_OF_DAY = re.compile(r"(?<=\d)\s*(?:\\text\s*\{)?\s*([ap])\.?\s?m\b\.?\s*\}?\s*\Z", re.IGNORECASE)
COMMAND = re.compile(r"\\(?:begin|end)\s*\{\w+\*?\}|\\[A-Za-z]+")
WORDS_AT_END = re.compile(r"\\text\s*\{[^{}\d]*\}\s*\Z")
NAMES = set("sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln exp sqrt pi inf infinity and or mod gcd lcm "
            "max min det lim int sum abs oo infty alpha beta gamma delta theta lambda sigma omega".split())


def squeezed(text):
    """Without blanks but those that part two numbers."""
    return re.sub(r"\s+", "", re.sub(r"(?<=\d)\s+(?=[\d.])", "\0", text)) if " " in text else re.sub(r"\s+", "", text)


def listed(text):
    """How a list is enclosed: "(", "[", "{", or "," where it is not; None of what is no list."""
    text = text.replace("\\{", "{").replace("\\}", "}").replace("\\lbrace", "{").replace("\\rbrace", "}")
    depth, commas, first_end = 0, [], None
    for i, letter in enumerate(text):
        if letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
            if depth == 0 and first_end is None:
                first_end = i
        elif letter in ",;" and depth <= 1:
            commas.append(depth)
    if text and text[0] in "([{" and first_end == len(text) - 1 and 1 in commas:
        return text[0] + text[-1]
    return "," if 0 in commas else None


def letters_of(text):
    """The variables of a text: not its commands, names of functions and words."""
    text = COMMAND.sub(" ", TEXT.sub(" ", text))
    return {letter for word in re.findall(r"[A-Za-z]+", text) if word.lower() not in NAMES and len(word) < 4
            for letter in word}


def long_words_of(text):
    text = COMMAND.sub(" ", TEXT.sub(lambda m: " " + m.group(1) + " ", text))
    return sorted(word.lower().rstrip("s") for word in re.findall(r"[A-Za-z]{4,}", text) if word.lower() not in NAMES)


def differ_in_form(given, wanted):
    """Whether what algebra leaves aside tells the two apart."""
    for form in (RELATION, UNEQUAL, ELLIPSIS):
        has = [bool(form.search(text)) for text in (given, wanted)]
        if form is not ELLIPSIS and has[0] != has[1] and RANGE.search((given, wanted)[has[0]]):
            continue  # x > 3 and (3, \infty)
        if has[0] != has[1]:
            return True
    bases = [BASE.search(text) for text in (given, wanted)]
    if any(bases):
        return not all(bases) or bases[0].group(1) != bases[1].group(1) or \
            squeezed(given[:bases[0].start()]) != squeezed(wanted[:bases[1].start()])
    if ELLIPSIS.search(given):
        return True
    if bool(PRIME.search(given)) != bool(PRIME.search(wanted)):
        return True
    kinds = listed(given), listed(wanted)
    if None not in kinds and kinds[0] != kinds[1] and set(kinds) != {"{}", ","} and "=" not in given + wanted:
        return True
    if any(re.search(r"(?<![_\d])\d+\s+\d+(?!\d*\s*/)(?!\d)", text) for text in (given, wanted)):
        return True
    letters = letters_of(given), letters_of(wanted)
    if letters[0] != letters[1] and {x.lower() for x in letters[0]} == {x.lower() for x in letters[1]}:
        return True
    sides = [[squeezed(side) for side in text.split("=")] for text in (given, wanted)]
    if all(len(x) > 1 for x in sides) and any(len(set(x)) == 1 or not letters_of(text)
                                              for x, text in zip(sides, (given, wanted))):
        return True  # 0 = 0 and 5 = 5 are both true, and not the same
    words = [long_words_of(without_unit(text)[0]) for text in (given, wanted)]
    if [] in words:  # 2/3 of the cake
        words = [long_words_of(WORDS_AT_END.sub("", without_unit(text)[0])) for text in (given, wanted)]
    return words[0] != words[1]


def is_immense(text):
    """A tower of powers or a factorial that no machine holds."""
    text = squeezed(text)
    tower = TOWER.search(text)
    if tower:
        base, low, high = (int(x[:9]) for x in tower.groups())
        if base > 1 and low > 1 and high > 1 and (high > 64 or low ** high > 1_000_000):
            return True
    power = re.search(r"(?:\^|\*\*)[({]*(\d{7,})", text)
    return bool(power) or any(len(f.group(1)) > 5 for f in FACTORIAL.finditer(text))


def equal_plainly(given, wanted):
    """True, False, or None where only algebra can tell."""
    if ELLIPSIS.sub("...", squeezed(given)) == ELLIPSIS.sub("...", squeezed(wanted)):
        return True
    if ":" in wanted and words_of(given) == words_of(wanted):  # 10:30 am
        return True
    if "mod" in given and "mod" not in wanted:
        given = re.sub(r"(?:\\pmod\s*\{?\s*\w+\s*\}?|\(\s*\\?mod\s*\{?\s*\w+\s*\}?\s*\))\s*\Z", "", given).strip()
        if "mod" in given:
            return False
    halves = [HALF_OF_DAY.search(text) for text in (given, wanted)]
    if all(halves) and halves[0].group(1).lower() != halves[1].group(1).lower():
        return False
    choice = words_of(wanted).strip("() .").upper()
    if re.fullmatch(r"\(?[A-J]\)?[.)]?", TEXT.sub(lambda m: m.group(1), wanted).strip()):
        text = TEXT.sub(lambda m: m.group(1), given).strip().strip("*")
        found = CHOICE.match(text)
        if found:
            return found.group(1).upper() == choice and not OTHER_CHOICE.search(text[found.end(1):])
        if number_of(given):
            return False
    a, unit_a = without_unit(given)
    b, unit_b = without_unit(wanted)
    x, y = number_of(a), number_of(b)
    if x and y:
        unit_a, unit_b = ("%" if number[2] else unit for number, unit in ((x, unit_a), (y, unit_b)))
        if unit_a and unit_b and unit_a != unit_b:
            return False
        return same_number(x, y)
    for text in (given, wanted):
        if is_immense(text):
            return False
    if WORDS.match(words_of(wanted)) and len(words_of(wanted)) > 1 and not re.search(r"\\(?!text|mathrm|mathbf|mbox)",
                                                                                       wanted):
        if all(re.fullmatch("[a-z]{2,3}", text) for text in (given, wanted)):  # xy and yx
            return sorted(given) == sorted(wanted)
        if WORDS.match(words_of(given)) or x:
            return words_of(given) == words_of(wanted)
    return False if differ_in_form(given, wanted) else None


class Algebra:
    """A process that compares pairs with math-verify, and that can be ended."""

    def __init__(self):
        self.process = None

    def equal(self, given, wanted):
        if self.process is None or self.process.poll() is not None:
            self.start()
        try:
            self.process.stdin.write(json.dumps([given, wanted]).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            self.end()
            return False
        line = self.read()
        if line is None:
            self.end()
            return False
        return line == b"1\n"

    def start(self):
        self.end()
        self.process = subprocess.Popen(
            [sys.executable, "-B", os.path.abspath(__file__), "--compare"], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, env={**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1",
                                         "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)})
        if self.read(starting=True) != b"ready\n":
            self.end()
            raise RuntimeError("the process that compares answers does not start")

    def end(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process.stdin.close()
            self.process.stdout.close()
            self.process = None

    def read(self, starting=False):
        """A line; None when it has gone or the limit is over."""
        begin, used = time.monotonic(), self.seconds_used()
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while True:
                if selector.select(0.2):
                    return self.process.stdout.readline() or None
                waited = time.monotonic() - begin
                if waited > LIMIT_WAITING or (not starting and self.seconds_used() - used > LIMIT_SECONDS):
                    return None

    def seconds_used(self):
        try:
            with open(f"/proc/{self.process.pid}/stat", "rb") as stat:
                fields = stat.read().rsplit(b")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except (OSError, IndexError):
            return 0


ALGEBRA = Algebra()
atexit.register(ALGEBRA.end)


BUILDER = re.compile(r"\\?\{\s*\w\s*(?:\\in\s*(?:\\mathbb\s*\{?R\}?|\\R))?\s*(?:\\mid|\||:)\s*([^{}]*?)\\?\}\Z")


def is_equal(given, wanted):
    """Whether two final answers are equal."""
    given, wanted = (multiplied(BUILDER.sub(r"\1", bare(text))) for text in (given, wanted))
    if not given or not wanted:
        return False
    plainly = equal_plainly(given, wanted)
    return ALGEBRA.equal(given, wanted) if plainly is None else plainly


def reward(records):
    """1 for each record whose response ends in its answer, 0 for the others."""
    rewards = []
    for record in records:
        wanted = record.get("answer") or ""
        if not wanted.strip():
            raise ValueError("the record has no answer to compare with (the inputs of the call must have answers)")
        if "####" in wanted or "boxed" in wanted:
            wanted = final_answer(wanted) or ""
        given = final_answer(record["response"])
        rewards.append(1.0 if given is not None and is_equal(given, wanted) else 0.0)
    return rewards


# -------------------------------------------------------------------- in the process that compares


def as_latex(text):
    """Plain writing as LaTeX: sqrt(2), **, 1e3, 2 1/2."""
    text = re.sub(r"(\\(?:sin|cos|tan|cot|sec|csc))\s*[({]?\s*([\d.]+)°\s*[)}]?", r"\1(\\frac{\2\\pi}{180})", text)
    text, _ = without_unit(text)
    if TEXT.sub("", text).strip(" .,") and re.search(r"[\d\\]", TEXT.sub("", text)):
        text = re.sub(r"\\text\s*\{\s*(and|or)\s*\}", " , ", text)
        text = re.sub(r",?\s+(?:and|or)\s+(?=[-+\\(\w])", ", ", text)
        text = re.sub(r",\s*,", ",", text)
    text = re.sub(r"\\sqrt\s*(\d)", r"\\sqrt{\1}", text)
    if "\\text" not in text and "\\begin" not in text:
        text = re.sub(r"(\d\s*)?(?<![A-Za-z\\{])([a-z]{2,3})(?![A-Za-z(])", product_of_letters, text)
    text = text.replace("**", "^")
    text = re.sub(r"\^\s*\(([^()]*)\)", r"^{\1}", text)
    text = re.sub(r"(?<!\\)\b(sqrt|pi|infty|infinity|sin|cos|tan|log|ln)\b",
                  lambda m: "\\infty" if m.group(1) == "infinity" else "\\" + m.group(1), text)
    text = re.sub(r"(?<!\\)\boo\b|(?<![A-Za-z\\])inf\b", r"\\infty", text)
    text = re.sub(r"\\sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}", text)
    text = re.sub(r"(?<=[\d)])\s*\*\s*(?=[\w\\(])", r" \\cdot ", text)
    text = re.sub(r"(?<![\w.])(\d+)\s+(\d+)\s*/\s*(\d+)(?!\w)", r"(\1+\\frac{\2}{\3})", text)
    text = re.sub(r"(?<![\w.])(\d+(?:\.\d+)?)[eE]([-+]?\d+)\b", r"\1 \\cdot 10^{\2}", text)
    text = REPEATING.sub(repeating, text)
    return re.sub(r"(\d)°", r"\1", text)


def product_of_letters(found):
    """2ab, of which a 2 alone would be read."""
    number, letters = found.groups()
    return found.group() if letters in NAMES else \
        (number + r"\cdot " if number else "") + r" \cdot ".join(letters)


REPEATING = re.compile(r"(\d*)\.(\d*)\\overline\s*\{?(\d+)\}?")


def repeating(found):
    """0.1\\overline{6} as a fraction."""
    whole, fixed, period = found.groups()
    value = Fraction(int(whole + fixed + period or 0) - int(whole + fixed or 0),
                     (10 ** len(period) - 1) * 10 ** len(fixed))
    return f"\\frac{{{value.numerator}}}{{{value.denominator}}}"


def compare(given, wanted):
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify
    config = [LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig()]

    def read(text):
        return parse("\\boxed{" + text + "}", extraction_config=config, parsing_timeout=None)

    a, b = read(as_latex(given)), read(as_latex(wanted))
    return verify(b, a, timeout_seconds=None) or verify(a, b, timeout_seconds=None) or are_equal_complex(a, b)


def are_equal_complex(a, b):
    """Where the letter i is the imaginary unit."""
    from sympy import Expr, I, simplify
    a, b = a[0] if a else None, b[0] if b else None
    if not (isinstance(a, Expr) and isinstance(b, Expr)):
        return False
    symbols = a.free_symbols | b.free_symbols
    if {str(symbol) for symbol in symbols} != {"i"}:
        return False
    a, b = (text.subs({symbol: I for symbol in symbols}).doit() for text in (a, b))  # one may be said to be real
    return simplify(a - b) == 0


def serve_comparisons():
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import logging
    logging.disable(logging.CRITICAL)
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    compare("\\frac{x}{2}", "0.5x")  # what the first pair takes longer is no pair's time
    answers.write(b"ready\n")
    for line in sys.stdin.buffer:
        given, wanted = json.loads(line)
        try:
            answers.write(b"1\n" if compare(given, wanted) else b"0\n")
        except (Exception, RecursionError, MemoryError):
            answers.write(b"0\n")
    os._exit(0)


if __name__ == "__main__":
    if sys.argv[1:] == ["--compare"]:
        serve_comparisons()
    if len(sys.argv) != 3 or sys.argv[1].startswith("--"):
        sys.exit(__doc__)
    print("response:", final_answer(sys.argv[1]))
    print("answer:  ", final_answer(sys.argv[2]) if re.search("####|boxed", sys.argv[2]) else sys.argv[2])
    print("reward:  ", reward([{"response": sys.argv[1], "answer": sys.argv[2]}])[0])
