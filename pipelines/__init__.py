"""From files to trained, evaluated and served models, on the layers of tfattn."""

# Recipes are read by the names of their tasks, so these are known as soon as anything is imported.
from pipelines import domains as domains
