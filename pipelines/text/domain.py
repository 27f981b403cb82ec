"""What the domain of text brings to the registry."""

from pipelines.core.spec import Domain
from pipelines.text.presets import PRESETS
from pipelines.text.spec import TASKS

DOMAIN = Domain("text", TASKS, PRESETS)
