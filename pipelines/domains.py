"""The registry: every domain, and by it every task and preset that the commands know.

A domain that ships with the product is a package and a line in DOMAINS. Another one is registered
by `register` before a command runs.
"""

from pipelines.core.spec import Domain, Recipe, Stage, Task
from pipelines.images.domain import DOMAIN as IMAGES
from pipelines.text.domain import DOMAIN as TEXT

DOMAINS = [TEXT, IMAGES]


def register(domain: Domain) -> None:
    """Add a domain, whose tasks and presets the commands then know.

    Raises:
        ValueError: a task or preset whose name is taken.
    """
    for kind, known, added in (
        ("task", tasks(), [task.name for task in domain.tasks]),
        ("preset", presets(), list(domain.presets)),
    ):
        taken = sorted(name for name in added if name in known)
        if taken or len(set(added)) < len(added):
            raise ValueError(f"{domain.name}: expected {kind} names of its own. Received: {taken}.")
    DOMAINS.append(domain)


def tasks(stage: Stage | None = None) -> dict[str, type[Task]]:
    """Return the tasks by name, of a stage or all."""
    every = (task for domain in DOMAINS for task in domain.tasks)
    return {task.name: task for task in every if stage is None or stage in task.stages}


def presets() -> dict[str, Recipe]:
    """Return the recipes of all presets by name."""
    return {name: recipe for domain in DOMAINS for name, recipe in domain.presets.items()}
