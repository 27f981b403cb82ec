from pipelines.text.data.embedded.shingles import Shingles, hashes

TEXT = "the quick brown fox jumps over the lazy dog"


def test_one_hash_for_every_five_words_whatever_their_case():
    assert len(hashes(TEXT)) == 5
    assert hashes("The quick, brown fox jumps OVER the lazy dog!") == hashes(TEXT)
    assert len(hashes("two words")) == len(hashes("")) == 1


def test_order_of_words_matters():
    assert not hashes("quick the brown fox jumps") & hashes(TEXT)


def test_containment_is_the_share_of_known_shingles():
    known = Shingles([TEXT])
    assert known.containment(TEXT) == 1
    assert known.containment("the quick brown fox jumps over a fence") == 2 / 4
    assert known.containment("something else that nobody wrote before") == 0


def test_a_text_is_added_once():
    known = Shingles()
    assert known.add_if_new(TEXT, limit=0.5)
    assert not known.add_if_new(TEXT + " again", limit=0.5)
    assert known.add_if_new("a slow red hen walks under " + TEXT, limit=0.5)


def test_a_text_pasted_from_two_others_is_known():
    known = Shingles([TEXT, "a slow red hen walks under the tree"])
    assert known.containment(TEXT + " a slow red hen walks under the tree") > 0.5
