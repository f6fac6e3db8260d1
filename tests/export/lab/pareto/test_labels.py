"""Names of points stand on nothing, and stay in the picture."""

import itertools
import random

from export.lab.pareto.labels import Box, around, place

ROOM = Box(0, 0, 400, 300)


def test_names_cover_neither_points_nor_each_other_and_stay_inside() -> None:
    draw = random.Random(5)
    points = [(draw.uniform(0, 400), draw.uniform(0, 300)) for _ in range(60)]
    taken = [around(x, y, 4) for x, y in points]
    found = place(points, [(50.0, 9.0)] * len(points), taken, ROOM)
    boxes = [box for box in found if box is not None]
    assert 20 < len(boxes) < 60  # crowded: some have room, not all
    assert all(box.inside(ROOM) for box in boxes)
    assert not any(box.meets(other) for box in boxes for other in taken)
    assert not any(a.meets(b) for a, b in itertools.combinations(boxes, 2))


def test_the_first_come_first() -> None:
    crowd = [(200.0, 150.0)] * 40
    found = place(crowd, [(80.0, 12.0)] * 40, [], ROOM)
    lost = [place for place, box in enumerate(found) if box is None]
    assert lost and min(lost) > 3


def test_a_name_in_a_corner_hangs_inwards() -> None:
    (box,) = place([(398.0, 298.0)], [(60.0, 10.0)], [around(398, 298, 3)], ROOM)
    assert box is not None and box.inside(ROOM)
