"""What is true of every setting, and what published commands rely on."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompt_optimization.errors import InputError
from prompt_optimization.keys import Key, Settings
from prompt_optimization.optimizers.greater.settings import GreaterSettings
from prompt_optimization.optimizers.registry import method_names, settings_class
from prompt_optimization.runs.config import groups, key_named, make_config, plan, values_of
from prompt_optimization.scoring.settings import ScoringSettings

ROWS = [row for group in groups() for row in group.rows()]
GROUPS: dict[str, type[Settings]] = {group.group: group for group in groups()}

# Flags of published commands and of the harness before settings had groups.
PUBLISHED = """
    accept allow_non_ascii anneal answer_temperature answer_tokens attack batch_size behaviour
    chat_template_kwargs connector control_init control_weight conversation_templates
    current_in_shortlist data_offset deterministic devices dtype early_stopping_steps
    extractor_separator extractor_style extractor_text filter_cand gbda_deterministic gradient_rows
    incr_control intersect_q logfile loss_threshold lr max_decoded_tokens max_evaluations
    max_new_tokens max_prompt_tokens max_rows max_seconds min_proposals model_kwargs model_paths
    n_dev_data n_steps n_test_data n_train_data num_train_models objective period_rule placeholder
    progressive_goals progressive_group progressive_models ray_address reasoning_gradient
    restart_when_solved result_prefix resume sample_chunk seed selection_control_weight shortlist
    shortlist_size stop_file stop_objective stop_on_success stop_plateau target_weight temp
    test_data test_steps ties tokenizer_kwargs tokenizer_paths top_prompts topk topq train_data
    trust_remote_code verbose worker_timeout workers
""".split()

# What each behaviour sets where nothing is given.
BEHAVIOURS = {
    "sound": {
        "accept": "improve",
        "period_rule": "off",
        "placeholder": "proposal",
        "current_in_shortlist": False,
        "ties": "first",
        "progressive_group": 10,
        "restart_when_solved": False,
        "scoring.must_end": True,
    },
    "published": {
        "accept": "always",
        "period_rule": "published",
        "placeholder": "underscore",
        "current_in_shortlist": True,
        "ties": "last",
        "progressive_group": 100,
        "restart_when_solved": True,
        "scoring.must_end": False,
    },
}


def every(rows: Sequence[Key] = ROWS) -> Any:
    return pytest.mark.parametrize("row", rows, ids=[row.name for row in rows])


def others(row: Key) -> list[Any]:
    """Values of the setting that are not its default."""
    number = row.default if isinstance(row.default, int | float) else 0
    found: list[Any] = [*row.choices] or {
        bool: [not row.default],
        int: [number + 1, number - 1],
        float: [number + 0.25, number - 0.25],
        str: ["something else"],
        tuple: [("one", "two")] if row.item is str else [({"a": 1}, {})],
        dict: [{"a": 1}],
    }[row.kind]
    return [value for value in found if value != row.default and usable(row, value)]


def usable(row: Key, value: Any) -> bool:
    try:
        row.check(value)
    except InputError:
        return False
    return True


def wrong(row: Key) -> list[Any]:
    """Values of another type, values that are no numbers, and values out of range."""
    found: list[Any] = [object(), b"bytes", 1j]
    found += [] if row.by_behaviour else [None]
    found += [] if row.kind is str else ["a text"]
    found += [] if row.kind is bool else [True, np.True_]
    found += [] if row.kind in (int, float) else [3]
    found += [] if row.kind is dict else [{"a": 1}]
    found += [] if row.kind is tuple else [("a",), ["a"]]
    if row.kind is tuple:
        found += [(3,), ("a", None)] if row.item is str else [("a",), ({}, 3)]
    if row.kind in (int, float):
        found += [math.nan, -math.inf] + ([] if row.limit else [math.inf])
        step = 1 if row.kind is int else 1e-9
        found += [] if row.low is None else [row.kind(row.low) - step]
        found += [] if row.above is None else [row.above, row.above - step]
        found += [] if row.high is None else [row.kind(row.high) + step]
    found += [1.5] if row.kind is int else []
    found += ["no such choice"] if row.choices else []
    return found


def check_refusal(error: InputError, row: Key) -> None:
    assert row.name in error.keys
    assert "\n" not in str(error) and str(error).endswith(")")
    assert f"setting {row.name}" in str(error)


# --- Rows ------------------------------------------------------------------------------------


def test_names_are_unique() -> None:
    names, paths = [row.name for row in ROWS], [row.path for row in ROWS]
    assert len(names) == len({*names}) and len(paths) == len({*paths})
    assert not {*names} & GROUPS.keys(), "a flat name would hide a group"
    for row in ROWS:
        assert row.name == row.path or "." not in row.name
        assert key_named(row.name) == key_named(row.path) == row


def test_every_method_has_its_group() -> None:
    assert method_names()
    assert {settings_class(name).group for name in method_names()} <= GROUPS.keys()


@every()
def test_defaults_pass_their_own_checks(row: Key) -> None:
    assert row.meaning and row.check(row.default) == row.default
    assert {*row.by_behaviour} <= {"sound", "published"}
    assert row.by_behaviour or not row.by_variant
    for value in (*row.by_behaviour.values(), *row.by_variant.values()):
        assert row.check(value) == value


@every()
def test_wrong_values_are_refused_by_name(row: Key) -> None:
    group = GROUPS[row.group]
    values = {each.name: each.default for each in group.rows()}
    for value in wrong(row):
        with pytest.raises(InputError) as caught:
            row.check(value)
        check_refusal(caught.value, row)
        with pytest.raises(InputError) as caught:
            group.of(values | {row.name: value})
        check_refusal(caught.value, row)


@given(
    row=st.sampled_from(ROWS),
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner),
        max_leaves=4,
    ),
)
def test_any_value_is_refused_or_of_the_row_s_kind(row: Key, value: Any) -> None:
    try:
        found = row.check(value)
    except InputError as error:
        check_refusal(error, row)
        return
    if found is None:
        assert value is None and row.by_behaviour
        return
    assert type(found) is row.kind and row.check(found) == found
    assert not row.choices or found in row.choices
    if row.kind in (int, float):
        assert math.isfinite(found)
        assert row.low is None or found >= row.low
        assert row.above is None or found > row.above
        assert row.high is None or found <= row.high
    if row.item is not None:
        assert all(type(item) is row.item for item in found)


@every([row for row in ROWS if row.limit])
def test_infinity_is_no_limit(row: Key) -> None:
    found = row.check(math.inf)
    assert found == 0 and type(found) is row.kind


@pytest.mark.parametrize("scalar", [np.int64(3), np.float32(0.5), np.bool_(True)])
def test_numbers_of_numpy_become_plain_ones(scalar: Any) -> None:
    kind = type(scalar.item())
    found = Key("key", "group", "key", kind, kind(), "a number").check(scalar)
    assert found == scalar.item() and type(found) is kind


# --- The config ------------------------------------------------------------------------------


@every([row for row in ROWS if "." not in row.name])
def test_flat_and_grouped_name_are_one_value(row: Key) -> None:
    assert values_of(make_config())[row.name] == row.unset
    values = others(row)
    # Those without another value have only one choice.
    assert values or len(row.choices) == 1
    for value in values:
        for flat in (True, False):
            for make in (make_config, lambda: copy.deepcopy(make_config())):
                config = make()
                place, name = (config, row.name) if flat else (config[row.group], row.attribute)
                place[name] = value
                assert config[row.name] == config[row.group][row.attribute]
                assert values_of(config)[row.name] == value
                assert values_of(copy.deepcopy(config))[row.name] == value
                unchanged = values_of(config) | {row.name: row.unset}
                assert unchanged == values_of(make_config())


def test_a_key_of_a_dict_has_both_names() -> None:
    config = copy.deepcopy(make_config())
    config.chat_template_kwargs.date_string = "today"
    config.model.chat_template_kwargs.bos = 3
    config.lock()
    config.chat_template_kwargs.date_string = "tomorrow"
    assert values_of(config)["chat_template_kwargs"] == {"date_string": "tomorrow", "bos": 3}
    config.chat_template_kwargs = {"other": 1}
    assert config.model.chat_template_kwargs.other == 1
    assert values_of(config)["chat_template_kwargs"] == {"other": 1}


def test_a_copy_changes_by_itself() -> None:
    config = make_config()
    other = copy.deepcopy(config)
    other.topk = 12
    other.chat_template_kwargs.date_string = "today"
    assert values_of(config) == values_of(make_config())


def test_two_values_of_one_setting_are_refused() -> None:
    config = make_config()
    config.topk = 12
    resolved = config.copy_and_resolve_references()  # what a config file may do
    assert values_of(resolved)["topk"] == 12
    resolved.topk = 13
    with pytest.raises(InputError, match=r"12 as 'greater\.topk' and 13 as 'topk'.*topk\)$"):
        values_of(resolved)


def test_a_value_that_is_no_number_is_refused_as_such() -> None:
    config = make_config()
    config.max_seconds = math.nan
    values = values_of(config) | {"train_data": "a.json", "extractor_text": "The answer is"}
    with pytest.raises(InputError, match="nan is not a number"):
        plan(values)


def test_a_config_without_the_template_is_refused() -> None:
    config = make_config()
    del config["topk"]
    with pytest.raises(InputError, match="no 'topk'; let its get_config begin with the template"):
        values_of(config)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("topkk", "did you mean 'topk'"),
        ("greater.topkk", "did you mean 'greater.topk'"),
        ("zzz", "--help lists the keys"),
    ],
)
def test_a_key_that_is_no_setting_is_refused(name: str, meant: str) -> None:
    config = make_config()
    group, _, attribute = name.rpartition(".")
    (config[group] if group else config)[attribute] = 3
    with pytest.raises(InputError, match=f"the unknown key '{name}'; {meant}"):
        values_of(config)


def test_no_published_flag_vanishes() -> None:
    names = {row.name for row in ROWS}
    assert not {*PUBLISHED} - names
    assert len({*PUBLISHED}) == 79


# --- Behaviours ------------------------------------------------------------------------------


@pytest.fixture
def values() -> dict[str, Any]:
    return values_of(make_config()) | {"train_data": "a.json", "extractor_text": "The answer is"}


@pytest.mark.parametrize("anneal", [False, True])
@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_a_behaviour_sets_what_is_not_given(
    values: dict[str, Any], behaviour: str, anneal: bool
) -> None:
    table = dict(BEHAVIOURS[behaviour])
    if anneal and behaviour == "sound":
        table["accept"] = "anneal"
    rows = (*GreaterSettings.rows(), *ScoringSettings.rows())
    assert {row.name for row in rows if row.by_behaviour} == table.keys()
    given_ = values | {"behaviour": behaviour, "anneal": anneal}
    resolved = plan(given_)
    assert {name: resolved.params[name] for name in table} == table
    for name, other in BEHAVIOURS["published" if behaviour == "sound" else "sound"].items():
        one = plan(given_ | {name: other}).params
        assert {key: one[key] for key in table} == table | {name: other}


def test_annealing_looks_ahead_to_the_last_step() -> None:
    assert GreaterSettings.default(anneal=True).fixed == {"n_steps"}
    assert not GreaterSettings.default().fixed
