"""Finding names by letters: against trying every placement, and in time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.widgets.fuzzy import NEXT, PLAIN, START, Matcher
from tests.budget import assert_within, clock


def truth(query: str, name: str) -> int | None:
    """Return the best score over all placements of the letters, tried one by one."""
    lower, scores = name.lower(), []
    for places in itertools.combinations(range(len(name)), len(query)):
        if all(lower[p] == letter for p, letter in zip(places, query, strict=True)):
            score = 0
            for number, p in enumerate(places):
                before = name[p - 1] if p else "."
                here = name[p]
                same = (before.isalpha() and here.isalpha()) or (
                    before.isdigit() and here.isdigit()
                )
                hump = before.islower() and here.isupper()
                starts = here.isalnum() and (not same or hump)
                score += START if starts else PLAIN
                score += NEXT * (number > 0 and places[number - 1] == p - 1)
            scores.append(score)
    return max(scores, default=None)


@given(
    names=st.lists(st.text("abA1._", max_size=8), max_size=6),
    query=st.text("ab1.", min_size=1, max_size=3),
)
def test_order_is_that_of_all_placements(names: list[str], query: str) -> None:
    scores = {i: truth(query, name) for i, name in enumerate(names)}
    found = [i for i in scores if scores[i] is not None]
    expected = sorted(found, key=lambda i: (-scores[i], len(names[i]), i))
    assert Matcher(names).ranked(query).tolist() == expected


@given(
    names=st.lists(st.text("abA1._", max_size=8), max_size=6),
    queries=st.lists(st.text("ab1.", max_size=3), max_size=4),
)
def test_typing_on_and_back_changes_nothing(
    names: list[str], queries: list[str]
) -> None:
    used = Matcher(names)
    for query in queries:
        assert used.ranked(query).tolist() == Matcher(names).ranked(query).tolist()


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("l12q", "layers.12.query"),
        ("L12 Q", "layers.12.query"),
        ("rl", "View: Reset layout"),
        ("down_p", "layers.1.mlp.down_proj"),
        ("dproj", "layers.1.mlp.downProj"),
    ],
)
def test_word_starts_come_first(query: str, first: str) -> None:
    names = [
        "layers.1.2.quantity",
        "layers.12.query",
        "Analysis: Run layers",
        "View: Reset layout",
        "window.layers",
        "layers.1.mlp.down_proj",
        "layers.1.mlp.downProj",
    ]
    assert names[Matcher(names).ranked(query)[0]] == first


def test_without_letters_all_names_keep_their_order() -> None:
    assert Matcher(["b", "a"]).ranked(" ").tolist() == [0, 1]
    assert Matcher([]).ranked("a").tolist() == []
    assert Matcher(["", ""]).ranked("a").tolist() == []


def test_letters_beyond_the_alphabet_match_themselves() -> None:
    names = ["Straße", "straSSE", "layer.µ", "İstanbul"]
    matcher = Matcher(names)
    assert matcher.ranked("ß").tolist() == [0]
    assert matcher.ranked("µ").tolist() == [2]
    assert matcher.ranked("stanb").tolist() == [3]


def test_sixty_thousand_names_answer_a_keystroke_in_time() -> None:
    names = [f"model.layers.{i // 7}.block.expert.{i % 7}.w1" for i in range(60_000)]
    matcher = Matcher(names)
    times = []
    for end in range(1, len("layers.123.expert") + 1):
        before = clock()
        found = matcher.ranked("layers.123.expert"[:end])
        times.append(clock() - before)
    assert names[found[0]].startswith("model.layers.123.block.expert")
    assert_within(0.1, [float(np.median(times))])
