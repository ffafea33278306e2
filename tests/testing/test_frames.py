"""What the recorder of frames finds, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pgnet_trio.testing import FrameRecorder

FRAME = 1 / 60


def recorded(xs: Sequence[float]) -> FrameRecorder:
    recorder = FrameRecorder("x", "y")
    for number, x in enumerate(xs):
        recorder.show(number * FRAME, {"ann": {"x": x, "y": 5}})
    return recorder


EVEN = [4.0 * number for number in range(60)]


def test_an_even_flight_has_no_hitch() -> None:
    assert recorded(EVEN).hitches() == []
    assert recorded(EVEN).hitch_share("ann") == 0
    assert recorded(EVEN).jumps(5) == []


def test_a_step_back_is_found() -> None:
    xs = [*EVEN[:30], EVEN[28], *EVEN[30:]]
    [hitch] = recorded(xs).hitches()
    assert (hitch.what, hitch.size) == ("back", -4)
    assert str(hitch) == "0.500 s: ann, back, by -4.00"
    assert 0 < recorded(xs).hitch_share() < 0.05


def test_standing_still_on_the_way_is_found() -> None:
    xs = [*EVEN[:30], EVEN[29], EVEN[29], EVEN[29], *EVEN[33:]]
    assert [hitch.what for hitch in recorded(xs).hitches()] == ["still"] * 3
    assert len(recorded(xs).jumps(10)) == 1


def test_who_starts_stops_or_turns_is_no_hitch() -> None:
    there_and_back = [*EVEN, *reversed(EVEN)]
    stopping = [*([0.0] * 40), *EVEN, *([EVEN[-1]] * 40)]
    assert recorded(there_and_back).hitches() == []
    assert recorded(stopping).hitches() == []


def test_an_action_is_found_in_its_frame() -> None:
    recorder = recorded([0.0] * 10 + EVEN[1:])
    assert recorder.frames_until_moved("ann", 10 * FRAME) == 0
    assert recorder.frames_until_moved("ann", 8 * FRAME) == 2
    with pytest.raises(ValueError, match="'ann' did not move after"):
        recorded([0.0] * 10).frames_until_moved("ann", 0.05)
    # Where it stood is not known.
    with pytest.raises(ValueError, match="a frame with 'ann' from before"):
        recorded(EVEN).frames_until_moved("ann", 0.0)


def test_an_error_is_as_long_as_it_shows() -> None:
    recorder = FrameRecorder("x")
    for number in range(30):
        off = 3.0 if 10 <= number < 16 or number == 20 else 0.0
        shown, right = {"ann": {"x": number + off}}, {"ann": {"x": number}}
        recorder.show(number * FRAME, shown, exact=right)
    assert recorder.longest_error("ann") == pytest.approx(6 * FRAME)
    assert recorder.places("ann")[10] == (10 * FRAME, (13.0,))


def test_an_error_of_one_frame_is_as_long_as_that() -> None:
    recorder = FrameRecorder("x")
    for number in range(9):
        recorder.show(number, {"ann": {"x": 0}}, exact={"ann": {"x": number == 4}})
    assert recorder.longest_error("ann") == 1


def test_nothing_passes_because_nothing_was_shown() -> None:
    """A test of a game that was never joined, or in which nobody moves, has to fail."""
    empty, still = FrameRecorder("x"), recorded([1.0] * 100)
    for check in (empty.hitches, empty.hitch_share, lambda: empty.jumps(5)):
        with pytest.raises(ValueError, match="nothing was shown"):
            check()
    with pytest.raises(ValueError, match=r"\['ann'\] never do"):
        still.hitch_share()
    with pytest.raises(ValueError, match="'bob' was never shown, only 'ann'"):
        still.jumps(5, "bob")
    with pytest.raises(ValueError, match="with where it should be"):
        still.longest_error("ann")


@pytest.mark.parametrize("x", [float("nan"), float("inf")])
def test_what_is_shown_nowhere_is_an_error_at_once(x: float) -> None:
    with pytest.raises(ValueError, match="'ann' was shown at"):
        recorded([*EVEN, x])


def test_a_recorder_has_to_know_what_a_place_is() -> None:
    with pytest.raises(TypeError, match="the names of the numbers of a place"):
        FrameRecorder()
