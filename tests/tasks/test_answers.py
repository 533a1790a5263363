"""What a text states, kind by kind."""

# Characters that look alike are what this is about.
# ruff: noqa: RUF001

from __future__ import annotations

import pytest

from prompt_optimization.tasks.answers import flexible_match, strict_match


def read(text: str, answer: str) -> tuple[bool, bool]:
    return strict_match(text, answer), flexible_match(text, answer)


@pytest.mark.parametrize(
    ("text", "answer", "strict", "flexible"),
    [
        ("8$.", "8", True, True),
        (" 8.\n\nNow", "8", True, True),
        ("8 apples", "8", True, True),
        ("80", "8", False, False),
        ("8.5", "8", False, False),
        ("8,000", "8", False, False),
        ("8,000", "8000", False, True),
        ("$8", "8", False, True),
        ("-50", "50", False, False),
        ("-50", "-50", True, True),
        ("50", "-50", False, False),
        ("about 12, not 13", "12", False, True),
        ("A", "A", True, True),
        ("(A) the fern", "A", False, True),
        ("Answer: B", "B", False, True),
        ("A", "B", False, False),
        ("Apple", "A", False, False),
        ("True.", "True", True, True),
        ("true", "True", False, True),
        ("not False", "True", False, False),
        ("Yes, it is", "Yes", True, True),
        ("No", "Yes", False, False),
        ("Yesterday", "Yes", False, False),
        ("apple river stone", "apple river stone", True, True),
        ("Apple, river, stone.", "apple river stone", False, True),
        ("apple stone river", "apple river stone", False, False),
        ("] ) }", "] )", False, False),
        ("] )$ and so", "] )", True, True),
        ("'] )'", "] )", False, True),
        ("apple river stone tower", "apple river stone", False, False),
        ("apple river stone$, sorted", "apple river stone", True, True),
        ("1. apple\n2. river\n3. stone", "apple river stone", False, True),
        ("apple; river; and stone", "apple river stone", False, True),
        ("1/2", "1", False, False),
        ("50-20", "50", False, False),
        ("\u221250", "50", False, False),
        ("\u221250", "-50", False, True),
        ("- 50", "50", False, False),
        ("-$50", "50", False, False),
        ("-$50", "-50", False, True),
        ("8,5", "85", False, False),
        ("+50", "50", False, True),
        ("8.0", "8", False, True),
        ("12,345,678 people", "12345678", False, True),
        ("not valid", "valid", False, False),
        ("non-valid", "valid", False, False),
        ("it is invalid", "invalid", False, True),
        ("b", "B", False, True),
        ("(b)", "B", False, True),
        ("I think B", "B", False, True),
        ("I'd say (C).", "C", False, True),
        ("A close look gives (B)", "B", False, True),
        ("A close look gives (B)", "A", False, False),
        ("I", "I", True, True),
        ("True and True", "True", False, False),
        ("True and not ( False ) or", "True", False, False),
        ("not True and True", "True", False, False),
        ("neither A nor B", "B", False, False),
        ("A is right", "A", True, True),
        ("the bee", "B", False, False),
        ("])", "] )", False, True),
        (") ]", "] )", False, False),
        ("", "8", False, False),
    ],
)
def test_readings(text: str, answer: str, strict: bool, flexible: bool) -> None:
    assert read(text, answer) == (strict, flexible)


# Kind: a number that goes on is not its first part.


@pytest.mark.parametrize(
    "rest",
    [
        *(" * 5", " x 5", "x5", " X 5", " × 5", "·5", " • 5", " + 2", " - 2", " – 2", " / 2", "÷2"),
        *("^2", " ^ 2", "²", "⁻¹", "**2", " ** 2", "!", "_2", "₂", "(2)", " ± 1", "±1", " mod 4"),
        *(" times 5", " plus 5", " minus 5", " divided by 3", " over 4", " squared", " factorial"),
        *(":4", " : 4", ":30", " to 20", "-20", "–20", "—20", "..20", "~20", " bis 20", "到20"),
        *("/7", " out of 20", " of 20", " < 20", " >= 2", " <= 20", "|3"),
        *(" million", "M", "k", " k", "bn", " Milliarden", " millones", " миллион", "万", " lakh"),
        *(" hundred", " thousand", " dozen", "%", " %", "٪", " percent", "‰", " Prozent"),
        *("½", " ½", " 1/2", ".5", ",5", ".5.5", "e3", "E-2", " × 10^3", "*10³", " and a half"),
        *("x", "y", "i", "th", "st", "m", " point 5", "1", " 13"),
        *(", 13", "; 13", " and 13", " & 13", " apples and 3 pears", ", and 13"),
        *(" apples * 5", " pens x 4", " kg 300 g", "°30", "'11\"", "h30", " hours 30 minutes"),
        *("$ + $5$", "** x **5**", "\\times 5", " \\cdot 5", "\\%", "^{2}", "\\pm 1", "$ * 5"),
        *(" x", " +", " *", "×", " /", "^", " apples x"),
        *(" is wrong", " is not the answer", " isn't right"),
    ],
)
@pytest.mark.parametrize("number", ["15", "-12", "1000", "2.5"])
def test_a_number_that_goes_on_is_not_its_first_part(number: str, rest: str) -> None:
    assert read(number + rest, number) == (False, False)
    assert not flexible_match(f"The answer is {number}{rest}", number)


@pytest.mark.parametrize(
    "rest",
    [
        *(".", "$", "**", "?", "\n", "\n\n5", ". 5", "...", ", not 13", ",", ";", " :)", "`", '"'),
        *(" apples", " km/h", " o'clock", " dollars", " €", " in total", " years old", " apples."),
        *(" (fifteen)", " (10 + 5)", " because 10 + 5 = 15", " - because", " – that is all"),
        *(" = 15", " = 3 * 5", " is the answer", "です", "元"),
    ],
)
def test_what_leaves_a_number_as_it_is(rest: str) -> None:
    assert read(f"15{rest}", "15") == (True, True)


@pytest.mark.parametrize("unit", ["kg", "cm", "g", "°", "€", "-year-old", " kg"])
def test_a_unit_may_be_added_but_not_left_out(unit: str) -> None:
    assert flexible_match(f"15{unit}", "15")
    assert not flexible_match("15", f"15{unit}")


@pytest.mark.parametrize("other", ["15 lb", "15", "15 m", "15 kg 300 g", "15 kg * 2", "-15 kg"])
def test_a_unit_of_the_reference_counts(other: str) -> None:
    assert read(other, "15 kg") == (False, False)
    assert flexible_match("15kg", "15 kg") and flexible_match("15.0 kg", "15 kg")


@pytest.mark.parametrize(
    "text",
    [
        *("not 15", "isn't 15", "at least 15", "more than 15", "up to 15", "≥15", "<15", "≠ 15"),
        *("√15", "\\sqrt{15}", "±15", "B15", "F-15", "x15", "x^15", "x_15", "f(15)", "a[15]"),
        *("log(15)", "x - 15", "x + 15", "2x15", "0x15", "2 * 15", "10^15", "minus 15"),
        *("negative 15", "115", "1.15", "2/15", "15-30-45", "15/03/2020", "1.15.2"),
    ],
)
def test_a_number_that_has_begun_before_is_not_its_last_part(text: str) -> None:
    assert read(text, "15") == (False, False)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("15 * 5 = 75", "75"),
        ("15 x 5 = 75 apples.", "75"),
        ("12 pencils x 4 = 48 pencils", "48"),
        ("$15$ \\times $5$ = $75$", "75"),
        ("15 times 5 is 75", "75"),
        ("10 + 5 = 15 + 3 = 18", "18"),
        ("15 + 60 = 15 + 60 = 75", "75"),
        ("6/4 = 1.5", "1.5"),
        ("22/7 ≈ 3.14", "3.14"),
        ("x = 5", "5"),
        ("15 - 5 = -(10)", None),
        ("15 * 5 =", None),
        ("3 = 4", None),
    ],
)
def test_a_calculation_states_its_result(text: str, result: str | None) -> None:
    numbers = {"75", "48", "18", "1.5", "3.14", "5", "15", "12", "10", "4", "3", "60", "6", "22"}
    assert {number for number in numbers if flexible_match(text, number)} == {result} - {None}
    assert not any(strict_match(text, number) for number in numbers)


# Kind: numbers as people of several countries and typesetters write them.


@pytest.mark.parametrize(
    ("answer", "spellings"),
    [
        ("1000", "1,000|1 000|1\u00a0000|1\u202f000|1\u2009000|1'000|1’000|1_000|1{,}000|1\\,000"),
        ("1000", "1000.0|1e3|1.0E3|10^3|10³|1k|1 thousand|１０００|١٠٠٠|١٬٠٠٠|१०००|𝟏𝟎𝟎𝟎|$1,000"),
        ("100000", "1,00,000|100,000|1 lakh|१,००,०००|100k|10^5|10万|1.0 × 10^5|1 \\times 10^{5}"),
        ("1000000", "1.000.000|1 000 000|1,000,000|1'000'000|10,00,000|1 million|1M|1 Mio|100万"),
        ("1000.5", "1,000.5|1.000,5|1 000,5|1 000.5|1'000.5|1'000,50|1000,5|1000½|١٠٠٠٫٥"),
        ("0.5", ".5|+.5|1/2|½|0,5|0.50|50%|50 %|50 percent|5e-1|\\frac{1}{2}|\\dfrac12|٠٫٥"),
        ("0.125", "1/8|.125|0,125|12.5%|⅛|12,5 %"),
        ("-50", "−50|–50|‒50|﹣50|－50|- 50|-50.0|minus 50|negative 50|-$50|$-50|-٥٠|-5e1"),
        ("3.5", "3½|3 ½|3 1/2|7/2|3,5|3.50|3 and a half|\\frac{7}{2}"),
        ("3000000", "3 million|3M|3 Millionen|3 миллиона|3e6|300万|30 lakh"),
        ("$5 million", "$5,000,000|5 million|$5M"),
        ("12", "12.0|12.|12,0|012|12/1|１２|१२|১২|⑫|1.2e1|1 dozen"),
    ],
)
def test_one_number_has_many_spellings(answer: str, spellings: str) -> None:
    for spelling in spellings.split("|"):
        assert flexible_match(spelling, answer), spelling
        assert flexible_match(answer, spelling), spelling
        assert not flexible_match(spelling, "7"), spelling


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (".5", "5"),
        ("$.50", "50"),
        ("3½", "3"),
        ("12²", "12"),
        ("12²", "122"),
        ("x₁", "1"),
        ("1.5e3", "1.5"),
        ("–50", "50"),
        ("1 000", "1"),
        ("1{,}000", "1"),
        ("1.000", "1000"),
        ("1,234", "1.234"),
        ("€5", "$5"),
        ("£5", "€5"),
        ("5", "€5"),
        ("(3,4)", "3.4"),
        ("1.2.3", "1.2"),
        ("12 34", "12"),
        ("1/0", "1"),
        ("9" * 5000, "9"),
        ("1e999999", "1"),
    ],
)
def test_numbers_that_are_others(text: str, wrong: str) -> None:
    assert read(text, wrong) == (False, False)
    assert read(text, text) == (True, True)


# Kind: a text that offers choices chooses none.

PAIRS = [
    ("True", "False"),
    ("Yes", "No"),
    ("valid", "invalid"),
    ("A", "B"),
    ("C", "B"),
    ("12", "13"),
    ("-11", "12"),
    ("] )", "}"),
    ("Paris", "Rome"),
    ("New York", "Boston"),
    ("x + 1", "x - 1"),
    ("да", "нет"),
    ("है", "नहीं"),
    ("是", "否"),
    ("12 kg", "13 kg"),
]


@pytest.mark.parametrize(
    "joint",
    [
        *(" or ", " Or ", ", or ", " or $ ", "$ or $", "** or **", "' or '", "` or `", "\nor "),
        *(" nor ", " vs ", " vs. ", " versus ", "/", " / ", "|", " | ", " oder ", " ou ", " o "),
        *(" или ", " 或 ", "或", " または ", " 또는 ", " أو ", " या ", " (or ", " and/or "),
    ],
)
@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_who_offers_choices_chooses_none(one: str, other: str, joint: str) -> None:
    for text in (one + joint + other, f"either {one}{joint}{other}", f"({one}){joint}({other})"):
        for said in (text, f"The answer is {text}.", f"**{text}**"):
            assert read(said, one) == (False, False), said
            assert read(said, other) == (False, False), said


@pytest.mark.parametrize(("one", "other"), [pair for pair in PAIRS if pair[0] != "] )"])
def test_who_lists_choices_chooses_none(one: str, other: str) -> None:
    for joint in (", ", "; ", " and ", " & ", ", and "):
        assert read(one + joint + other, one) == (False, False), joint
        assert read(f"[{one}{joint}{other}]", one) == (False, False), joint
    for cut_off in (f"{one} or", f"{one} or so", f"{one}/"):
        assert read(cut_off, one) == (False, False)


@pytest.mark.parametrize(
    "text",
    [
        *("(A) red (B) blue (C) green", "(A) red\n(B) blue", "A) red\nB) blue", "A. red\nB. blue"),
        *("A\nB\nC", "- A\n- B", "A B C", "A, B, or C", "A-C", "A–C", "A to C", "(A)/(B)", "A & B"),
    ],
)
def test_repeated_options_are_no_choice(text: str) -> None:
    for letter in "ABC":
        assert read(text, letter) == (False, False), letter


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("False is incorrect. The correct answer is: True.", "True"),
        ("Not A but B", "B"),
        ("A is wrong, so B", "B"),
        ("not ( True ) and True is False", "False"),
        ("It is not 12, it is 13.", "13"),
        ("12 is wrong; 13", "13"),
        ("B, because A is wrong", "B"),
        ("(B) because (A) is wrong", "B"),
        ("B. A is wrong", "B"),
        ("B\n\nA", "B"),
        ("Option C", "C"),
        ("答案是B", "B"),
        ("B입니다", "B"),
        ("b) blue", "B"),
        ("*B*", "B"),
        ("B!", "B"),
        ("Yes, no doubt", "Yes"),
        ("Yes - it is", "Yes"),
        ("Yes ✅", "Yes"),
        ("True. False is wrong", "True"),
        ("True\n\nFalse", "True"),
        ("'Yes'", "Yes"),
        ("“Yes”", "Yes"),
        ("The statement is true.", "True"),
        ("Business news", "Business"),
        ("It asks for a location.", "Location"),
        ("negative sentiment", "negative"),
    ],
)
def test_who_argues_has_chosen(text: str, answer: str) -> None:
    assert flexible_match(text, answer)


# Kind: what distinguishes two answers distinguishes the texts.


@pytest.mark.parametrize(
    ("answer", "others"),
    [
        ("A", "A+|A-|A−|A#|A'|A*|A1|A₁|A²|Á|А|-A|¬A|not A|A.B.|AB|A_1|A^2|A(1)|f(A)|A is wrong"),
        ("C", "C++|C#|C-4|X-C|C/D|C + D|C = D|no C|isn't C"),
        ("True", "¬True|!True|True+|not True|non-true|untrue|isn't true|True & False|True ∧ False"),
        ("no", "nó|nó|noé|nope|no-one|not no"),
        ("x", "-x|¬x|x'|x!|x²|x₁|x + 1|x - 1|2x|x2|√x|f(x)|x(1)|x = 5|x/2|x\u0302|(x) + 2|$x$ + 2"),
        ("n!", "n|n!!|2n!|(n)"),
        ("x + 2", "x - 2|x + 20|x|2|x + 2y|x + 2 + y|x * 2|x + −2|-x + 2"),
        ("3, 4", "(3, 4)|[3, 4]|{3, 4}|3:4|3-4|3/4|3.4|3, 4, 5|34|4, 3"),
        ("(3, 4)", "[3, 4]|3, 4|(3, 4]|(3, 4, 5)|(3, -4)|(4, 3)"),
        ("p ∧ q", "p ∨ q|p → q|p|¬p ∧ q|p ∧ ¬q|p ∧ q ∧ r"),
        ("<", "≤|>|=|<<|<="),
        ("C++", "C|C#|C+|C++11|C--"),
        ("O+", "O-|O|O++|AO+"),
        ("12:30", "12|12.30|12:31|12:30:15|12:3"),
        ("12%", "12|0.12%|12‰|1.2%"),
        ("é", "e|è|ê"),
        ("São Paulo", "Sao Paulo|São Paolo|São"),
        ("naïve", "naive|naïf"),
        ("कि", "का|क|की"),
        ("क", "कि|का|ख"),
        ("👍", "👎|👍🏽|👍👍"),
        ("🇫🇷", "🇩🇪|🇫|🇫🇷🇩🇪"),
        ("it&t", "itt|it t|it"),
        ("don't", "dont|don|do"),
        ("well", "well-known|well_known|we|well.py|well@x|wells"),
        ("Node", "Node.js|Nodes|Node-red|Node 2"),
        ("New York", "New York City|New|York|New-York"),
        ("apple", "apple pie|apple, pear|apple and pear|apple/pear|apple-pie|not apple"),
        ("apple river", "apple river stone|river apple|apple, river, stone|apple\nriver\nstone"),
        ("St", "St. Louis|St Louis"),
        ("$AAPL", "AAPL+|AAP|$AAPL.L"),
        ("me", "@me|#me|me@x|meh"),
    ],
)
def test_what_distinguishes_answers_distinguishes_texts(answer: str, others: str) -> None:
    assert read(answer, answer) == (True, True)
    for other in others.split("|"):
        assert read(other, answer) == (False, False), other


@pytest.mark.parametrize(
    ("answer", "spellings"),
    [
        ("True", "TRUE|true|True!|`True`|\\text{True}|**True.**|<b>True</b>|True ✅"),
        ("B", "(B)|[B]|b|B)|B.|\\boxed{B}|**(B)**|$B$"),
        ("St. Louis", "St Louis|st. louis|St.\u00a0Louis|St. Louis."),
        ("don't", "don’t|Don't|DON'T"),
        ("x + 2", "x+2|$x + 2$|X + 2|x + 2.0|\\(x+2\\)"),
        ("3, 4", "3; 4|3 and 4|3, 4."),
        ("(3, 4)", "(3; 4)|$(3, 4)$|( 3, 4 )"),
        ("p ∧ q", "p \\wedge q|$p \\land q$|P ∧ Q"),
        ("apple river", "['apple', 'river']|- apple\n- river|**apple**, **river**"),
        ("café", "cafe\u0301|CAFÉ|ｃａｆé|café!"),
        ("H_2O", "H₂O|h_2o"),
        ("] )", "])|`] )`|\\boxed{] )}|]  )|] ).|The answer is ] )"),
        ("It rains. We stay.", "It rains. We stay|it rains. we stay."),
        ("12 kg", "12kg|12.0 kg|12 KG|１２ kg|12\\text{ kg}"),
        ("Sí", "SÍ|sí.|«Sí»"),
        ("北京", "北京。|「北京」|答案是北京"),
        ("Rome", "La réponse est Rome.|Die Antwort ist: Rome|Ответ: Rome|Answer: **Rome**"),
    ],
)
def test_spellings_of_one_answer(answer: str, spellings: str) -> None:
    for spelling in spellings.split("|"):
        assert flexible_match(spelling, answer), spelling


@pytest.mark.parametrize("answer", ["8", "B", "True", "] )", "Rome", "x + 1"])
@pytest.mark.parametrize(
    "text", ["", " ", "\n\n", "...", "$", "**", "?!", "—", "\u200b", "()", "-"]
)
def test_a_text_that_states_nothing_is_never_right(text: str, answer: str) -> None:
    assert read(text, answer) == (False, False)


@pytest.mark.parametrize("answer", ["", " ", "\u200b", "\n"])
def test_nobody_states_an_answer_that_is_empty(answer: str) -> None:
    for text in (answer, "", "8", " "):
        assert read(text, answer) == (False, False)
