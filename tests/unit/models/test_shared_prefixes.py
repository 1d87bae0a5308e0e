"""Which prompts share a prefix, and how long it is."""

from shared.models.shared_prefixes import group_by_deepest_prefix, group_by_prefix


def test_clusters_gather_prompts_of_one_schema_and_leave_the_rest_alone():
    system, songs, birds = tuple(range(20)), tuple(range(100, 160)), tuple(range(200, 290))
    prompts = [system + songs + (1, 2), system + birds + (3,), system + songs + (4,), system + (9,) * 70]
    found = {frozenset(members): shared for members, shared in group_by_prefix(prompts)}
    assert found == {frozenset({0, 2}): 80, frozenset({1}): 110, frozenset({3}): 89}


def test_a_prefix_never_covers_the_whole_prompt():
    prompt = tuple(range(50))
    assert group_by_prefix([prompt, prompt]) == [([0, 1], 49)]


def test_families_put_a_prompt_where_most_of_it_is_shared():
    shots, songs, birds = tuple(range(1000, 1300)), tuple(range(100, 160)), tuple(range(200, 290))
    prompts = [shots + songs + (1, 2), shots + birds + (3,), shots + songs + (4,), shots + (9,) * 70, shots + birds]
    found = {frozenset(members): shared for members, shared in group_by_deepest_prefix(prompts)}
    assert found == {frozenset({0, 2}): 360, frozenset({1, 4}): 389, frozenset({3}): 300}
    assert group_by_deepest_prefix(prompts[:2]) == group_by_prefix(prompts[:2])
