"""Hold kernels back that the NVIDIA driver has no module for yet, so that everything else is upgraded.

The rule is not here: the newest nvidia-kmod-common says in its Conflicts which kernels it has no module for, and dnf
keeps those out anyway, but with best=1 by refusing the whole upgrade. This takes them out of sight and says so.
dnf --disableplugin=nvidia shows them again.
"""

import logging

import dnf

GATE = "nvidia-kmod-common"
CORE = "-core"  # the package of a kernel that has its image: kernel-core, kernel-rt-core
logger = logging.getLogger("dnf.plugin")


class Nvidia(dnf.Plugin):
    """Works where a gate is installed; a gate of the DKMS streams conflicts with no kernel."""

    name = "nvidia"

    def sack(self):
        """Called once the packages of repositories and host are known and filtered by module streams."""
        gates = self.base.sack.query().filterm(name=GATE)
        if not gates.installed():
            return
        gate = gates.latest()[0]
        conflicts = list(gate.conflicts)
        if not conflicts:
            return
        families = {str(c).strip("( ").split()[0] for c in conflicts}
        families = {name[: -len(CORE)] for name in families if name.endswith(CORE)}
        installed = {p.name: p for p in self.base.sack.query().installed().latest()}
        for core in self.base.sack.query().available().filterm(provides=conflicts):
            family = core.name.removesuffix(CORE)
            self._hold(core, family, families - {family})
            here = installed.get(core.name)
            if here is not None and core > here:  # what an upgrade would bring
                logger.warning(
                    "nvidia: %s is held back: driver %s has no module for it yet (%s)", core, gate.version, gate
                )

    def _hold(self, core, family, others):
        """Take a kernel out of sight, with the packages that are made with it; not those of another variant."""
        query = self.base.sack.query().available()
        query.filterm(epoch=core.epoch, version=core.version, release=core.release, name__glob=[family, family + "-*"])
        variants = tuple(name + "-" for name in others if len(name) > len(family))
        held = [p for p in query if p.name not in others and not (variants and p.name.startswith(variants))]
        self.base.sack.add_excludes(self.base.sack.query().filterm(pkg=held))
