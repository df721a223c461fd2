import platform

from tasks.engine.processor import describe_cpuinfo, processor

X86 = """processor\t: 0
model name\t: AMD EPYC
flags\t\t: fpu sse sse4_2 fma avx avx2 avx512_vnni hypervisor

processor\t: 1
model name\t: Another
"""
ARM = """processor\t: 0
BogoMIPS\t: 243.75
Features\t: fp asimd asimddp sve cpuid

processor\t: 1
"""


def test_the_vector_instructions_of_the_first_processor_follow_its_name() -> None:
    assert describe_cpuinfo(X86) == "AMD EPYC (sse4_2 fma avx avx2 avx512_vnni)"


def test_a_processor_without_a_name_is_named_by_its_architecture() -> None:
    assert describe_cpuinfo(ARM) == f"{platform.machine()} (asimd asimddp sve)"


def test_an_empty_list_of_processors_names_the_architecture() -> None:
    assert describe_cpuinfo("") == platform.machine()


def test_this_machine_has_a_processor() -> None:
    assert processor()
