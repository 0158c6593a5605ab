"""What counts as a loaded module, what as the right answer without a GPU, and that nothing else does."""

from __future__ import annotations

import pytest

from builder.qualify.bootreport import Attempt, alone_faults, last_words, load_faults, no_gpu, read_report

V = "535.261.03"
NO_GPU = "[    4.1] NVRM: No NVIDIA GPU found."
ENODEV = "modprobe: ERROR: could not insert 'nvidia': No such device"
REPORT = f"""SeaBIOS noise
@repobuild kernel 6.1.0-50-cloud-amd64
@repobuild lockdown [none] integrity confidentiality
@repobuild log
[    0.000000] Linux version 6.1.0-50-cloud-amd64
@repobuild end
@repobuild try nvidia
{ENODEV}
@repobuild rc 1
@repobuild state
@repobuild version
@repobuild taint
@repobuild log
[    4.0] nvidia: loading out-of-tree module taints kernel.
{NO_GPU}
@repobuild end
@repobuild skip nvidia-uvm nvidia
@repobuild done
"""


def answer(said: str = ENODEV, log: str = NO_GPU, *, rc: int | None = 1, state: str = "", version: str = "") -> Attempt:
    return Attempt(label="nvidia", rc=rc, state=state, version=version, said=said.splitlines(), log=log.splitlines())


def faults(attempt: Attempt | None, module: str = "nvidia") -> list[str]:
    return load_faults(attempt, module, V)


def test_a_report_is_read_whole() -> None:
    report = read_report(REPORT.replace("\n", "\r\n"))
    assert (report.kernel, report.lockdown) == ("6.1.0-50-cloud-amd64", "[none] integrity confidentiality")
    assert report.done
    assert report.log == ["[    0.000000] Linux version 6.1.0-50-cloud-amd64"]
    nvidia, uvm = report.attempts
    assert (nvidia.rc, nvidia.state, nvidia.said) == (1, "", [ENODEV])
    assert nvidia.log[-1] == NO_GPU
    assert (uvm.label, uvm.missing, uvm.tried) == ("nvidia-uvm", "nvidia", False)


def test_a_report_that_breaks_off_is_read_until_there() -> None:
    report = read_report(REPORT.partition("@repobuild rc")[0])
    assert not report.done
    assert report.attempt("nvidia-uvm") is None
    assert faults(report.attempt("nvidia")) == ["inserting nvidia never came back", ENODEV]


def test_a_live_module_of_the_right_version_is_good() -> None:
    assert faults(answer("", "NVRM: loading", rc=0, state="live", version=V)) == []


def test_a_live_module_of_another_version_is_not() -> None:
    found = faults(answer("", "", rc=0, state="live", version="550.163.01"))
    assert found == [f"nvidia says it is version 550.163.01, expected {V}"]


def test_no_gpu_and_enodev_is_the_right_answer_of_nvidia() -> None:
    assert no_gpu(answer(), "nvidia")
    assert faults(answer()) == []


@pytest.mark.parametrize(
    ("module", "said", "log"),
    [
        ("nvidia", ENODEV, ""),
        ("nvidia", ENODEV.replace("No such device", "Invalid argument"), NO_GPU),
        ("nvidia", ENODEV.replace("No such device", "Cannot allocate memory"), NO_GPU),
        ("nvidia", ENODEV.replace("No such device", "No such device or address"), NO_GPU),
        ("nvidia", "", NO_GPU),
        ("nvidia", ENODEV, f"nvidia: disagrees about version of symbol kmalloc\n{NO_GPU}"),
        ("nvidia", ENODEV, f"nvidia: Unknown symbol kmalloc (err -2)\n{NO_GPU}"),
        ("nvidia", ENODEV, f"BUG: kernel NULL pointer dereference\n{NO_GPU}"),
        ("nvidia-uvm", ENODEV, NO_GPU),
        ("nvidia-uvm", "modprobe: ERROR: could not insert 'nvidia_uvm': Invalid argument", ""),
    ],
)
def test_nothing_else_is(module: str, said: str, log: str) -> None:
    assert faults(answer(said, log), module)


def test_a_peermem_stub_answers_einval_without_a_word_of_the_kernel() -> None:
    said = "modprobe: ERROR: could not insert 'nvidia_peermem': Invalid argument"
    assert faults(answer(said, ""), "nvidia-peermem") == []
    assert faults(answer(said, "nvidia_peermem: Unknown symbol x (err -22)"), "nvidia-peermem")


def test_a_live_module_that_made_the_kernel_complain_is_not_good() -> None:
    warning = "[    4.0] WARNING: CPU: 0 PID: 71 at kernel/x.c:1 nvidia_init"
    assert faults(answer("", warning, rc=0, state="live", version=V))[0].startswith("WARNING: CPU")


@pytest.mark.parametrize(
    "line",
    [
        "Loading of unsigned module is rejected",
        "Lockdown: modprobe: unsigned module loading is restricted; see man kernel_lockdown.7",
        "nvidia: version magic '5.14.0 SMP ' should be '6.1.0 SMP '",
        "nvidia: exports duplicate symbol nvidia_get_rm_ops (owned by nvidia_old)",
    ],
)
def test_what_the_kernels_loader_says_is_a_complaint(line: str) -> None:
    assert answer("", f"[    1.0] {line}").complaints == (f"[    1.0] {line}",)


def test_a_failure_without_any_word_is_told_by_its_exit_code() -> None:
    assert faults(answer("", "", rc=139)) == ["nvidia: exit code 139, without a word"]


def test_a_module_that_was_never_reached_is_not_good() -> None:
    assert faults(None) == ["nvidia was not reached: the machine stopped before"]


def test_a_complaint_comes_before_other_words_without_time_stamps() -> None:
    attempt = answer(ENODEV, "[    1.5] harmless\n[    2.5] nvidia: disagrees about version of symbol module_layout")
    assert attempt.evidence == ("nvidia: disagrees about version of symbol module_layout", ENODEV, "harmless")


def test_last_words_of_a_console_start_at_the_first_complaint() -> None:
    console = "\x1b[2J\x1b[01;01HBdsDxe\r\n[ 1.0] fine\r\n[ 2.0] Kernel panic - not syncing: x\r\n[ 2.1] CPU: 0\r\n"
    assert last_words(console) == ("Kernel panic - not syncing: x", "CPU: 0")
    assert last_words("[ 1.0] one\n[ 2.0] two\n", 1) == ("two",)
    assert last_words("") == ()


ALONE = "insmod: ERROR: could not insert module /x/nvidia-uvm.ko: Unknown symbol in module"
OWN = "[    1.0] nvidia_uvm: Unknown symbol nvidia_get_rm_ops (err -2)"


def alone(said: str, log: str) -> list[str]:
    return alone_faults(answer(said, log), "nvidia-uvm", {"nvidia_get_rm_ops"})


def test_a_module_alone_may_miss_what_its_set_exports() -> None:
    assert alone(ALONE, OWN) == []


@pytest.mark.parametrize(
    ("said", "log", "fault"),
    [
        (ALONE, f"{OWN}\nnvidia_uvm: Unknown symbol gone (err -2)", "nvidia_uvm: Unknown symbol gone (err -2)"),
        (ALONE, f"{OWN}\nnvidia_uvm: disagrees about version of symbol x", "nvidia_uvm: disagrees about version of"),
        (ALONE, "", "insmod: ERROR"),
        (ALONE.replace("Unknown symbol in module", "Key was rejected by service"), "", "insmod: ERROR"),
        (ALONE.replace("Unknown symbol in module", "Invalid argument"), OWN, "nvidia_uvm: Unknown symbol nvidia_get"),
    ],
)
def test_and_nothing_else(said: str, log: str, fault: str) -> None:
    assert alone(said, log)[0].startswith(fault)
