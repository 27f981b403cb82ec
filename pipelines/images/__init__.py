"""The domain of images: what they are read from, and the tasks that models of images learn."""
