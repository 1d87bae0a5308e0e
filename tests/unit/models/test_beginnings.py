"""Which prompts share a beginning, and how long it is."""

from shared.models.beginnings import clusters


def test_clusters_gather_prompts_of_one_schema_and_leave_the_rest_alone():
    system, songs, birds = tuple(range(20)), tuple(range(100, 160)), tuple(range(200, 290))
    prompts = [system + songs + (1, 2), system + birds + (3,), system + songs + (4,), system + (9,) * 70]
    found = {frozenset(members): shared for members, shared in clusters(prompts)}
    assert found == {frozenset({0, 2}): 80, frozenset({1}): 110, frozenset({3}): 89}


def test_a_prefix_never_covers_the_whole_prompt():
    prompt = tuple(range(50))
    assert clusters([prompt, prompt]) == [([0, 1], 49)]
