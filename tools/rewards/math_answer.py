"""Whether the final answer of a response is mathematically equal to the record's answer: a reward of 1 or 0.

    function = tools/rewards/math_answer.py:reward

The final answer is the last \\boxed{...} or `#### ...`, whichever comes later; else what follows the last "the
answer is"; else the last formula or number. None at all is a 0. Two answers are equal when they are the same
number (thousands separators, percent, fractions, mixed numbers, scientific notation; a unit only one of them has
is left aside), the same choice, or what math-verify finds equal: expressions, equations, intervals, sets, tuples,
matrices. What cannot be told within LIMIT_SECONDS of computing, in a process of its own, is not equal.

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

PHRASE = re.compile(r"(?:final\s+answer|answer|result|solution|option|choice)\b\s*(?:is|are|=|:)+\s*:?\s*", re.IGNORECASE)
FORMULA = re.compile(r"\$\$(.+?)\$\$|\$(.+?)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
NUMBER = re.compile(r"[-+]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?(?:\s*/\s*\d+)?\s*(?:\\?%)?")
COMPUTED = re.compile(r"(?:^|[\s$])[\d.,()]+\s*[-+*/×÷][-+*/×÷\d.,()\s$]*=\s*([-+.\d$][^=]*)\Z")
CHOICE_AT_END = re.compile(r"(?:^|[\s(*])\(?([A-J])\)?[.)*]*\s*$")


def boxed(text):
    """Content and place of the last \\boxed{...} that is closed, or None."""
    for found in reversed(list(re.finditer(r"\\f?boxed\s*", text))):
        at = found.end()
        if at < len(text) and text[at] != "{":
            return text[at:].split("$")[0].split()[0] if text[at:].split("$")[0].split() else "", found.start()
        depth = 0
        for i in range(at, len(text)):
            if text[i] in "{}" and text[i - 1] != "\\":
                depth += 1 if text[i] == "{" else -1
                if depth == 0:
                    return text[at + 1:i], found.start()
    return None


def final_answer(text):
    """What the text gives as its answer, or None."""
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
    phrases = list(PHRASE.finditer(text))
    if phrases:
        rest = text[phrases[-1].end():].strip()
        if rest:
            formula = FORMULA.match(rest)
            if formula and not re.match(r"\s*(?:and|or|,)\s", rest[formula.end():]):
                return rest[:formula.end()] + percent_after(rest[formula.end():])
            return sentence(rest)
    lines = [line for line in text.strip().split("\n") if line.strip()]
    if not lines:
        return None
    last = lines[-1].strip().strip("*").rstrip(".")
    formulas = list(FORMULA.finditer(last))
    if formulas:
        return formulas[-1].group(0) + percent_after(last[formulas[-1].end():])
    if len(last) <= 60 and not re.search(r"[A-Za-z]{3,}\s+[A-Za-z]{3,}", last):
        computed = COMPUTED.search(last)
        return computed.group(1) if computed else last
    choice = CHOICE_AT_END.search(last)
    if choice:
        return choice.group(1)
    found = list(NUMBER.finditer(text))
    return found[-1].group(0) if found else last if len(last) <= 60 else None


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
    text = re.sub(r"(?<!\\)\\(?:left|right|big|Big|displaystyle|,|;|!|:| )(?![A-Za-z])", " ", text)
    text = text.replace("\\left", "").replace("\\right", "").replace("\\displaystyle", "")
    text = text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac").replace("\\cfrac", "\\frac")
    text = text.replace("−", "-").replace("–", "-").replace("×", "\\times ").replace("·", "\\cdot ")
    text = text.replace("π", "\\pi ").replace("√", "\\sqrt").replace("∞", "\\infty ").replace("~", " ")
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
        if "\\text" in text and re.fullmatch(r"[A-Za-z ./-]+", words) and spaced and \
                re.fullmatch(r"[-+\d.,\s]*", found.group(1)):
            return found.group(1).strip(), words.lower().rstrip("s")
        if rational(found.group(1)) and re.fullmatch(r"[a-z]{4,}( [a-z]{2,}){0,2}", words):
            return found.group(1).strip(), words.rstrip("s")  # 5 marbles
    return text, None


def decimal(text):
    """The number that plain digits are, and its decimals, or None."""
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


def squeezed(text):
    return re.sub(r"\s+", "", text)


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
    if squeezed(given) == squeezed(wanted):
        return True
    if ":" in wanted and words_of(given) == words_of(wanted):  # 10:30 am
        return True
    if "mod" in given and "mod" not in wanted:
        given = re.sub(r"\(?\\[pb]?mod\s*\{?\s*\w+\s*\}?\)?\s*\Z", "", given).strip()
    choice = words_of(wanted).strip("() .").upper()
    if re.fullmatch(r"\(?[A-J]\)?[.)]?", TEXT.sub(lambda m: m.group(1), wanted).strip()):
        found = CHOICE.match(TEXT.sub(lambda m: m.group(1), given).strip().strip("*"))
        if found:
            return found.group(1).upper() == choice
        if number_of(given):
            return False
    a, unit_a = without_unit(given)
    b, unit_b = without_unit(wanted)
    x, y = number_of(a), number_of(b)
    if x and y:
        if unit_a and unit_b and unit_a != unit_b:
            return False
        return same_number(x, y)
    for text in (given, wanted):
        if is_immense(text):
            return False
    if WORDS.match(words_of(wanted)) and len(words_of(wanted)) > 1 and not re.search(r"\\(?!text|mathrm|mathbf|mbox)",
                                                                                       wanted):
        return words_of(given) == words_of(wanted) if WORDS.match(words_of(given)) or x else None
    return None


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
    given, wanted = (BUILDER.sub(r"\1", bare(text)) for text in (given, wanted))
    if not given or not wanted:
        return False
    plainly = equal_plainly(given, wanted)
    return ALGEBRA.equal(given, wanted) if plainly is None else plainly


def reward(records):
    """1 for each record whose response ends in its answer, 0 for the others."""
    rewards = []
    for record in records:
        wanted = record["answer"]
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
    unit = symbols.pop()
    return simplify(a.subs(unit, I).doit() - b.subs(unit, I).doit()) == 0


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
