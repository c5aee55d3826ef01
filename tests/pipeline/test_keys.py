"""Keys: arrays that are searched as a dict would be."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sightsound.pipeline.keys import KEY, KEY_BYTES, KeyIndex, keys_from_hex, make_keys

# Few halves, so that keys come again and share one half with others; and the ends of the range.
HALVES = st.sampled_from((0, 1, 2, 2**63, 2**64 - 1))
PAIRS = st.lists(st.tuples(HALVES, HALVES), max_size=30)


def keys_of(pairs):
    return np.array(pairs, dtype=KEY)


@given(PAIRS, PAIRS)
def test_find_agrees_with_a_dict_in_which_the_last_place_stays(pairs, wanted):
    places = {pair: place for place, pair in enumerate(pairs)}
    found = KeyIndex(keys_of(pairs)).find(keys_of(wanted))
    assert found.tolist() == [places.get(pair, -1) for pair in wanted]


@given(PAIRS)
def test_last_are_those_that_do_not_come_again(pairs):
    expected = [pair not in pairs[place + 1 :] for place, pair in enumerate(pairs)]
    assert KeyIndex(keys_of(pairs)).is_last().tolist() == expected


def test_find_takes_keys_out_of_wider_records():
    records = np.zeros(4, dtype=[("size", "<i8"), ("key", KEY)])
    records["key"] = make_keys("abcd")
    assert KeyIndex(records["key"]).find(records["key"][::-1]).tolist() == [3, 2, 1, 0]


@given(st.lists(st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES)))
def test_hexadecimal_digits_come_back(contents):
    texts = [content.hex() for content in contents]
    assert [bytes(key).hex() for key in keys_from_hex(texts)] == texts


@given(st.lists(st.text(), max_size=20))
def test_equal_names_and_no_others_have_equal_keys(names):
    found = [bytes(key) for key in make_keys(names)]
    assert [key in found[:place] for place, key in enumerate(found)] == [
        name in names[:place] for place, name in enumerate(names)
    ]


def test_name_that_is_not_utf_8_has_a_key_of_its_own():
    keys = make_keys(["/a\udcff.mp4", "/a\udcfe.mp4", "/a.mp4"])
    assert len({bytes(key) for key in keys}) == 3
