"""The domain of text: vocabularies, token stores, generation, and the tasks of text models."""
