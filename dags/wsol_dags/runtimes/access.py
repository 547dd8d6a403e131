"""What a task may reach besides its workspace: the runtimes with containers give it that and no more."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Access:
    """What a task may reach.

    Attributes:
        identity: whose account and secrets it has: ``training`` records runs in MLflow, ``promotion`` registers models
            and says which is champion, ``publish`` records runs and has the keys of DVC's remote; empty for none.
        network: ``tasks``, ``none``, or a template that becomes one of them; empty: with an identity the former.
        cache: whether it writes results into DVC's cache.
    """

    identity: str = ""
    network: str = ""
    cache: bool = False

    def __post_init__(self) -> None:
        if self.identity not in IDENTITIES:
            raise ValueError(f"identity is {self.identity!r}; it must be one of {', '.join(filter(None, IDENTITIES))}.")

    @property
    def reach(self) -> str:
        """Its network."""
        return self.network or (ONLINE if self.identity else OFFLINE)


IDENTITIES = ("", "training", "promotion", "publish")
ONLINE, OFFLINE = "tasks", "none"
NOTHING = Access()
