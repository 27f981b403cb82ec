import pytest

from tfattn import ways


def test_ways_end_with_their_block_and_nest():
    assert not ways.current().fused
    with pytest.raises(KeyError), ways.using(fused=True, remat=True):
        with ways.using(fused=False):
            assert (ways.current().fused, ways.current().remat) == (False, True)
        assert ways.current().fused
        raise KeyError
    assert ways.current() == ways.Ways()


def test_a_way_that_there_is_not_is_refused():
    with pytest.raises(TypeError, match="unexpected keyword argument"), ways.using(quick=True):
        pass
