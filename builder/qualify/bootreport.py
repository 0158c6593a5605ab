"""What an init reported (builder.qualify.initramfs), read, and each insertion judged by the kernel's words."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from builder.model.cells import Check, Outcome

_MARK = "@repobuild "
# What the kernel's module loader says of a module it refuses (linux/kernel/module/), and what no module may cause.
_COMPLAINT = re.compile(
    r"disagrees about version of symbol|Unknown symbol|no symbol version for|version magic|[Ii]nvalid module format"
    r"|exports duplicate symbol|Key was rejected|key not available|[Ll]oading (of .* )?is (rejected|restricted)"
    r"|[Uu]nknown relocation|[Ii]nvalid relocation|Skipping invalid|BUG:|kernel BUG|Oops|general protection fault"
    r"|WARNING: CPU|Kernel panic|Call Trace:|failed to validate|Module has invalid ELF"
)
_UNKNOWN = re.compile(r": Unknown symbol (\S+) \(err -2\)")
_NO_GPU = "NVRM: No NVIDIA GPU found"
_SHOWN = 8  # lines of evidence from one insertion


@dataclass(slots=True, kw_only=True)
class Attempt:
    """One insertion as it went."""

    label: str
    missing: str = ""  # the module for want of which it was not tried
    rc: int | None = None  # exit code of modprobe or insmod; None: it never came back
    state: str = ""  # the kernel's initstate of the module: "live", or "" where it is not there
    version: str = ""
    taint: str = ""  # of the module: O out of tree, P proprietary, E unsigned
    said: list[str] = field(default_factory=list)  # modprobe's or insmod's words
    log: list[str] = field(default_factory=list)  # the kernel's words since the one before

    @property
    def tried(self) -> bool:
        """False where a module that it needs was not there."""
        return not self.missing

    @property
    def complaints(self) -> tuple[str, ...]:
        """The kernel's words that no good module causes."""
        return tuple(line for line in self.log if _COMPLAINT.search(line))

    @property
    def evidence(self) -> tuple[str, ...]:
        """What tells most first: the kernel's complaint, the program's words, the rest of the kernel's."""
        rest = [line for line in self.log if line not in self.complaints]
        lines = [*self.complaints, *self.said, *rest]
        return tuple(plain(line) for line in dict.fromkeys(lines))[:_SHOWN]


@dataclass(slots=True, kw_only=True)
class BootReport:
    """Everything that init reported."""

    kernel: str = ""  # uname -r
    lockdown: str = ""  # /sys/kernel/security/lockdown, the mode in brackets; "" where the kernel has none
    log: list[str] = field(default_factory=list)  # the kernel's words before the first insertion
    attempts: list[Attempt] = field(default_factory=list)  # the last one by a label stands
    done: bool = False

    def attempt(self, label: str) -> Attempt | None:
        """The attempt of that label that went furthest, None where there is none."""
        found = [a for a in self.attempts if a.label == label]
        return found[-1] if found else None


def read_report(text: str) -> BootReport:
    """Parse a report; one that breaks off is what came until then."""
    report = BootReport()
    current: Attempt | None = None
    target: list[str] | None = None
    for line in text.splitlines():
        if not line.startswith(_MARK):
            if target is not None and line.strip():
                target.append(line.rstrip())
            continue
        word, _, value = line.removeprefix(_MARK).strip().partition(" ")
        if word in {"try", "skip"}:
            label, _, missing = value.partition(" ")
            current = Attempt(label=label, missing=missing)
            report.attempts.append(current)
            target = current.said if word == "try" else None
            current = current if word == "try" else None
        elif word == "log":
            target = report.log if current is None else current.log
        elif word == "end":
            current, target = None, None
        elif word == "done":
            report.done = True
        elif current is not None:
            _set(current, word, value)
            target = None
        elif word in {"kernel", "lockdown"}:
            setattr(report, word, value)
    return report


def _set(attempt: Attempt, word: str, value: str) -> None:
    if word == "rc":
        attempt.rc = int(value) if value.isdecimal() else None
    elif word in {"state", "version", "taint"}:
        setattr(attempt, word, value)


def plain(line: str) -> str:
    """A line of the kernel's log without its time stamp: same boot, same evidence."""
    return re.sub(r"^\[\s*\d+\.\d+\]\s*", "", line).strip()


def load_faults(attempt: Attempt | None, module: str, version: str) -> list[str]:
    """Why an insertion is not good; empty for a live module, and for the answers that are right without hardware.

    Right are: "NVRM: No NVIDIA GPU found" with ENODEV from nvidia; EINVAL without a word of the kernel from
    nvidia-peermem, which is a stub where the kernel's InfiniBand is not MOFED's.
    """
    if attempt is None:
        return [f"{module} was not reached: the machine stopped before"]
    if not attempt.tried:
        return []
    if attempt.rc is None:
        return [f"inserting {module} never came back", *attempt.evidence]
    if attempt.complaints:
        return list(attempt.evidence)
    if attempt.rc == 0 and attempt.state == "live":
        if attempt.version != version and (attempt.version or module == "nvidia"):  # uvm of 470 records none
            return [f"{module} says it is version {attempt.version or 'none'}, expected {version}", *attempt.evidence]
        return []
    if no_gpu(attempt, module) or _peermem_stub(attempt, module):
        return []
    return list(attempt.evidence) or [f"{module}: exit code {attempt.rc}, without a word"]


def alone_faults(attempt: Attempt | None, module: str, exported: Collection[str]) -> list[str]:
    """Why an insertion without the modules it needs is not good: it may miss what those export, and nothing else.

    The kernel looks at the signature first and then at every symbol, so this shows that both are right.
    """
    if attempt is None or attempt.rc is None:
        return load_faults(attempt, module, "")
    missing = {found[1]: line for line in attempt.log if (found := _UNKNOWN.search(line))}
    own = {line for name, line in missing.items() if name in exported}
    wrong = [line for line in attempt.complaints if line not in own]
    if not wrong and own and _errors(attempt) == ["Unknown symbol in module"]:
        return []
    return [plain(line) for line in wrong[:_SHOWN]] or list(attempt.evidence) or [f"{module}: no word of its symbols"]


def no_gpu(attempt: Attempt, module: str) -> bool:
    """Whether this is nvidia.ko's own answer on a machine without a GPU: its words, and ENODEV."""
    return (
        module == "nvidia"
        and attempt.state == ""
        and not attempt.complaints
        and any(_NO_GPU in line for line in attempt.log)
        and _errors(attempt) == ["No such device"]
    )


def _peermem_stub(attempt: Attempt, module: str) -> bool:
    return module == "nvidia-peermem" and not attempt.complaints and _errors(attempt) == ["Invalid argument"]


def _errors(attempt: Attempt) -> list[str]:
    """The errno words of modprobe's or insmod's error lines."""
    return [line.rpartition(": ")[2].strip() for line in attempt.said if "ERROR" in line]


def told(name: str, words: Sequence[str], *, passed: Sequence[str]) -> Check:
    """A check whose lines are one story and not several faults: none of them is counted or cut off."""
    outcome = Outcome.FAILED if words else Outcome.OK
    return Check(name=name, outcome=outcome, evidence=tuple(words or passed))


def last_words(console: str, count: int = 12) -> tuple[str, ...]:
    """The end of a console: from the first complaint on where there is one, else its last lines."""
    lines = [plain(line) for line in _clean(console)]
    first = next((n for n, line in enumerate(lines) if _COMPLAINT.search(line)), None)
    shown: Sequence[str] = lines[-count:] if first is None else lines[first : first + count]
    return tuple(shown)


def _clean(console: str) -> Iterator[str]:
    """Lines without the escape sequences that firmware writes."""
    for line in re.sub(r"\x1b\[[0-9;=?]*[A-Za-z]", "", console).splitlines():
        text = "".join(c for c in line if c.isprintable()).strip()
        if text:
            yield text
