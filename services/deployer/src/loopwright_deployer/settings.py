"""Settings of the deployer."""

import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from loopwright_common.database.leases import LEASE
from loopwright_common.egress.addresses import parse_allowed
from loopwright_common.egress.index_access import IndexAccess, index_access
from loopwright_common.egress.proxies import named_proxies
from loopwright_common.egress.rules import EgressRules
from loopwright_common.errors import InvalidError
from loopwright_common.process.directory_lock import exclusive_directory
from loopwright_common.sandbox import Level
from loopwright_common.settings import Port, ServiceSettings, comma_separated
from loopwright_deployer.deployments.gates import SKIPPABLE, Gate


class DeployerSettings(ServiceSettings):
    """What an administrator sets of the deployer, beside what holds for every service."""

    service: ClassVar[str] = "deployer"
    port: Port = 8003
    work_dir: Path = Path(".loopwright/deployer")
    """Scratch space and the logs of packaging and staging processes; each replica has its own."""
    lease_seconds: float = Field(default=LEASE.total_seconds(), gt=0)
    """How long after a replica was last heard of another goes on with its deployments."""
    warm_processes: bool = True
    """Keep a pre-imported packaging process and staging scorer waiting: seconds for memory."""
    stage_seconds: float = Field(default=300.0, gt=0)
    """How long packaging, and how long the staging checks, may take."""
    stage_memory: int = Field(default=8 << 30, ge=1 << 30)
    """Bytes of address space of each process that packages a version or stages it, and with cgroups
    of memory of it and what it starts."""
    sandbox_minimum: Level = Level.PROCESS
    """Weakest level at which packages are opened: none, process, container or namespace."""

    skippable_gates: str = "canary"
    """Gates that people may skip, with commas between: approval, canary, window; empty for none."""

    index_outage_seconds: float = Field(default=3600.0, ge=0)
    """How long a version waits for a package index that cannot be reached before it is rejected."""

    index_addresses: str = ""
    """What uv may reach beside public addresses and what its variables name: `10.1.0.0/16:443`."""

    webhook_addresses: str = ""
    """What webhooks of a deploy policy may reach beside public addresses: `10.1.0.0/16:443`."""

    pickle_models: str = ""
    """Models, with commas between, whose pickles are opened, in a process of their own."""

    def may_unpickle(self, model: str) -> bool:
        """Whether an administrator has granted that the pickles of this model be opened."""
        return model in comma_separated(self.pickle_models)

    @property
    def skippable(self) -> frozenset[Gate]:
        """Which gates people may skip; InvalidError for what is none, or is never skipped."""
        names = set(comma_separated(self.skippable_gates))
        if unknown := names - SKIPPABLE:
            raise InvalidError(
                f"LOOPWRIGHT_DEPLOYER_SKIPPABLE_GATES: {', '.join(sorted(unknown))} cannot be "
                f"skipped; name some of {', '.join(sorted(SKIPPABLE))}"
            )
        return frozenset(Gate(name) for name in names)

    @property
    def index_access(self) -> IndexAccess:
        """What uv may reach; InvalidError for an address or a proxy that is none."""
        return index_access(self.index_addresses, os.environ)

    @property
    def webhook_rules(self) -> EgressRules:
        """What webhooks may reach; InvalidError for an address or a proxy that is none."""
        addresses = parse_allowed(self.webhook_addresses, "LOOPWRIGHT_DEPLOYER_WEBHOOK_ADDRESSES")
        return EgressRules(addresses, proxies=named_proxies(os.environ), judges_names=True)

    def own_directory(self) -> AbstractContextManager[None]:
        """Held while entered; ConflictError while another deployer has it.

        UnavailableError where nothing can be written there.
        """
        remedy = "set LOOPWRIGHT_DEPLOYER_WORK_DIR to a directory of this deployer's own"
        return exclusive_directory(self.work_dir, "deployer", remedy)
