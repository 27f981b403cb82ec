"""What the domain of images brings to the registry."""

from pipelines.core.spec import Domain
from pipelines.images.presets import PRESETS
from pipelines.images.spec import TASKS

DOMAIN = Domain("images", TASKS, PRESETS)
