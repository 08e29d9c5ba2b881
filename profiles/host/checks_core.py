"""Checks of the cores: isolation, frequency, idle states, siblings, what the hypervisor takes."""

from __future__ import annotations

from profiles.host.findings import NOT_WATCHED, Outcome, Subject, advice, check, ok, unfit, unknown
from profiles.host.measured import time_text
from profiles.host.reader import CPU, Host, format_list, parse_list

# With two cores or fewer the rest of the machine needs one of those that trade.
FEW_CORES = 2
# An idle state that is left faster than this does not show in a doorbell.
DEEP_EXIT_US = 2
SLOW_WAKE_NS = 10_000
PM_QOS = "dev/cpu_dma_latency"
# Ticks are 10 ms: less than this is one tick in a short watch.
STEAL_ADVICE, STEAL_UNFIT = 0.005, 0.05
HICCUP_ADVICE_NS = 100_000
SYSCALL_SLOW_NS = 500.0


def wanted(subject: Subject) -> str:
    """Cores that should be free of everything else, as the kernel writes them."""
    return format_list(subject.pinned)


@check(
    "core.isolation",
    "cores isolated",
    "On an isolated core the scheduler puts nothing that was not pinned there.",
)
def isolation(subject: Subject) -> Outcome:
    """isolcpus, or a cpuset partition, for the cores of the workers."""
    isolated = parse_list(subject.host.text(f"{CPU}/isolated"))
    missing = [core for core in subject.pinned if core not in isolated]
    value = f"isolated: {format_list(isolated) or 'none'}"
    if not missing:
        return ok(value)
    if len(subject.cores) <= FEW_CORES:
        return ok(f"{value}; with {len(subject.cores)} cores there is none to spare for the rest")
    return advice(value, f"kernel parameter isolcpus=managed_irq,domain,{wanted(subject)}")


@check(
    "core.nohz_full",
    "timer tick on busy cores",
    "The tick takes a busy core away for some µs, hundreds of times a second.",
    3,
)
def nohz_full(subject: Subject) -> Outcome:
    """nohz_full for the cores of the workers."""
    # The file is missing, or holds "(null)", on a kernel that can not do it or was not told.
    quiet = parse_list(subject.host.get(f"{CPU}/nohz_full"))
    if all(core in quiet for core in subject.pinned):
        return ok(f"off on {format_list(quiet)}")
    if len(subject.cores) <= FEW_CORES:
        return ok(f"on; with {len(subject.cores)} cores each has more than one task anyway")
    return advice(
        f"on (nohz_full: {format_list(quiet) or 'none'})", f"kernel parameter nohz_full={wanted(subject)}"
    )


@check(
    "core.rcu",
    "kernel callbacks",
    "Callbacks of the kernel's own memory management run on the core that caused them.",
    3,
)
def rcu_nocbs(subject: Subject) -> Outcome:
    """rcu_nocbs for the cores of the workers; nohz_full implies it."""
    given = subject.host.kernel_parameters().get("rcu_nocbs", "")
    moved = parse_list(given) + parse_list(subject.host.get(f"{CPU}/nohz_full"))
    if given == "all" or all(core in moved for core in subject.pinned):
        return ok("run elsewhere")
    if len(subject.cores) <= FEW_CORES:
        return ok(f"run here; with {len(subject.cores)} cores there is nowhere else")
    return advice("run on the cores of the workers", f"kernel parameter rcu_nocbs={wanted(subject)}")


@check("core.mitigations", "mitigations", "Each system call pays for the mitigations of processor flaws.", 3)
def mitigations(subject: Subject) -> Outcome:
    """What a system call costs with the mitigations in force."""
    setting = subject.host.kernel_parameters().get("mitigations", "default")
    cost = subject.measured.syscall_ns
    value = f"mitigations={setting}" + (f", a system call costs {cost:.0f} ns" if cost is not None else "")
    if cost is not None and cost > SYSCALL_SLOW_NS and setting != "off":
        return advice(
            value, "kernel parameter mitigations=off, only where no foreign code runs on this machine"
        )
    return ok(value)


@check(
    "core.governor",
    "frequency governor",
    "A core that was slowed down needs tens of µs to come back to speed.",
)
def governor(subject: Subject) -> Outcome:
    """The performance governor, and no cap below what the core can do."""
    host = subject.host
    slow: list[int] = []
    capped: list[int] = []
    for core in subject.pinned:
        folder = f"{CPU}/cpu{core}/cpufreq"
        if not host.exists(folder):
            return ok("the machine does not let the guest or kernel set frequencies")
        if host.text(f"{folder}/scaling_governor") != "performance":
            slow.append(core)
        if host.number(f"{folder}/scaling_max_freq") < host.number(f"{folder}/cpuinfo_max_freq"):
            capped.append(core)
    if slow:
        name = host.text(f"{CPU}/cpu{slow[0]}/cpufreq/scaling_governor")
        return advice(
            f"{name} on core {format_list(slow)}",
            f"for c in {' '.join(map(str, slow))}; do echo performance > "
            f"/{CPU}/cpu$c/cpufreq/scaling_governor; done",
        )
    if capped:
        return advice(
            f"frequency capped on core {format_list(capped)}",
            f"for c in {' '.join(map(str, capped))}; do cat /{CPU}/cpu$c/cpufreq/cpuinfo_max_freq > "
            f"/{CPU}/cpu$c/cpufreq/scaling_max_freq; done",
        )
    return ok("performance")


def idle_states(host: Host, core: int) -> list[tuple[str, int]]:
    """Enabled idle states of a core, shallowest first: name and exit latency in µs."""
    found = []
    for name in host.names(f"{CPU}/cpu{core}/cpuidle"):
        folder = f"{CPU}/cpu{core}/cpuidle/{name}"
        if name.startswith("state") and host.get(f"{folder}/disable", "0") == "0":
            found.append((host.text(f"{folder}/name"), host.number(f"{folder}/latency")))
    return sorted(found, key=lambda state: state[1])


@check("core.idle", "idle states", "A core in a deep idle state wakes tens of µs late.", 1)
def cstates(subject: Subject) -> Outcome:
    """Whether deep idle states are off, or can be kept out by PM QoS."""
    parameters = subject.host.kernel_parameters()
    limits = [
        f"{name}={parameters[name]}"
        for name in ("idle", "processor.max_cstate", "intel_idle.max_cstate")
        if name in parameters
    ]
    states = idle_states(subject.host, subject.pinned[0]) if subject.pinned else []
    listed = ", ".join(f"{name} {latency} µs" for name, latency in states) or "none listed"
    value = f"{listed}{'; ' if limits else ''}{' '.join(limits)}"
    free = subject.measured.wake(held=False)
    # A guest's table says what the guest does; the hypervisor halts the core all the same.
    slow = free is not None and free.ns_p50 > SLOW_WAKE_NS
    if free is not None and slow:
        value += f"; yet a wake-up takes {time_text(free.ns_p50)}"
    if parameters.get("idle") == "poll" or (states and states[-1][1] <= DEEP_EXIT_US and not slow):
        return ok(value)
    if subject.host.writable(PM_QOS):
        return ok(f"{value}; kept out by PM QoS while trading")
    return advice(value, "give the engine PM QoS (see PM QoS), or kernel parameter idle=poll")


@check(
    "core.pm_qos",
    "PM QoS",
    "Holding /dev/cpu_dma_latency at 0 keeps idle cores awake: on a virtual machine 4 µs instead of 40.",
    1,
)
def pm_qos(subject: Subject) -> Outcome:
    """Whether the engine may hold the wake latency down."""
    if not subject.host.exists(PM_QOS):
        return advice(f"no /{PM_QOS}", "kernel parameter idle=poll (the cores never sleep)")
    held, free = subject.measured.wake(held=True), subject.measured.wake(held=False)
    gain = f": wake p50 {time_text(free.ns_p50)} → {time_text(held.ns_p50)}" if held and free else ""
    if subject.host.writable(PM_QOS):
        return ok(f"permitted{gain}")
    return advice(
        "not permitted",
        'udev rule KERNEL=="cpu_dma_latency", GROUP="ringlane", MODE="0660"; in the unit '
        "DeviceAllow=/dev/cpu_dma_latency rw",
    )


@check(
    "core.siblings",
    "hyper-threads",
    "Two workers on the two threads of one core slow each other by a third and share its cache.",
)
def siblings(subject: Subject) -> Outcome:
    """Whether each pinned core has its physical core for itself."""
    shared = []
    for core in subject.pinned:
        text = subject.host.text(f"{CPU}/cpu{core}/topology/thread_siblings_list")
        others = [c for c in parse_list(text) if c != core]
        if others:
            shared.append((core, others))
    if not shared:
        return ok("one thread per core")
    off = " ".join(str(c) for c in sorted({o for _, others in shared for o in others} - set(subject.pinned)))
    value = "; ".join(f"core {core} shares with {format_list(others)}" for core, others in shared)
    if not off:
        return advice(value, "kernel parameter nosmt")
    return advice(value, f"for c in {off}; do echo 0 > /{CPU}/cpu$c/online; done (or kernel parameter nosmt)")


@check("core.numa", "NUMA nodes", "A worker that reads memory of another node pays some 60 ns per miss.")
def numa(subject: Subject) -> Outcome:
    """Whether the pinned cores stand on one node."""
    nodes: dict[str, tuple[int, ...]] = {}
    for name in subject.host.names("sys/devices/system/node"):
        if name.startswith("node") and name[4:].isdigit():
            nodes[name[4:]] = parse_list(subject.host.text(f"sys/devices/system/node/{name}/cpulist"))
    if len(nodes) <= 1:
        return ok("one node")
    used = {node: [c for c in cores if c in subject.pinned] for node, cores in nodes.items()}
    used = {node: cores for node, cores in used.items() if cores}
    if len(used) <= 1:
        return ok(f"{len(nodes)} nodes, all workers on node {next(iter(used), '-')}")
    far = max(
        int(d)
        for node in used
        for d in subject.host.text(f"sys/devices/system/node/node{node}/distance").split()
    )
    node = max(used, key=lambda n: len(used[n]))
    return advice(
        f"workers on nodes {', '.join(used)} (distance {far})",
        f"taskset -c {format_list(nodes[node])} ringlane run … (cores of node {node} only)",
    )


@check(
    "core.steal",
    "time taken by the hypervisor",
    "Time the hypervisor gives to others is lost without a trace in the process.",
    1,
)
def steal(subject: Subject) -> Outcome:
    """Steal of the pinned cores while the machine was watched."""
    if subject.activity is None:
        return unknown(NOT_WATCHED)
    shares = {core: share for core, share in subject.activity.steal if core in subject.cores}
    if not shares:
        return unknown("/proc/stat has no steal column")
    core = max(shares, key=shares.__getitem__)
    value = f"{shares[core] * 100:.2f} % on core {core}" if shares[core] else "none"
    fix = "dedicated cores from the provider (no shared or burstable type), or bare metal"
    if shares[core] >= STEAL_UNFIT:
        return unfit(value, fix)
    return advice(value, fix) if shares[core] >= STEAL_ADVICE else ok(value)


@check("core.hiccups", "hiccups", "While a core is away, no update is handled and no order is canceled.", 1)
def hiccups(subject: Subject) -> Outcome:
    """The absences of the pinned cores, with what most likely caused them."""
    rows = [h for h in subject.measured.hiccups if h.core in subject.pinned]
    if not rows:
        return unknown("not measured")
    worst = max(rows, key=lambda h: (h.delay_ns_p99_9, h.gap_ns_max))
    value = (
        f"core {worst.core}: a message waits {time_text(worst.delay_ns_p99_9)} at p99.9, "
        f"longest absence {time_text(worst.gap_ns_max)}, {worst.lost * 100:.2f} % lost"
    )
    if worst.delay_ns_p99_9 < HICCUP_ADVICE_NS:
        return ok(value)
    return advice(value, cause_of(subject, worst.core))


def cause_of(subject: Subject, core: int) -> str:
    """Who took a core away, by what was seen on it: a process, the hypervisor, or interrupts."""
    hiccup = subject.measured.of_core(core)
    activity = subject.activity
    if hiccup is not None and activity is not None and hiccup.waited > hiccup.lost / 2:
        rivals = activity.on_core(core)
        if rivals:
            names = ", ".join(f"pid {b.pid} {b.name} ({b.share * 100:.0f} % of a core)" for b in rivals[:3])
            return f"other processes ran there: {names}; see busy processes"
        return "other processes ran there, each for a short time: isolate the core"
    stolen = dict(activity.steal).get(core, 0.0) if activity is not None else 0.0
    if hiccup is not None and stolen > hiccup.lost / 2:
        return "the hypervisor took it: dedicated cores from the provider"
    return "nothing of this machine ran there: interrupts or the host below; see interrupts, isolation"


@check("core.machine", "kind of machine", "On a shared host p99.9 belongs to the neighbours.", 3)
def virtual(subject: Subject) -> Outcome:
    """Virtual machine or not, container or not."""
    host = subject.host
    guest = " hypervisor " in f" {host.text('proc/cpuinfo')} ".replace("\n", " ")
    product = " ".join(
        filter(None, (host.get(f"sys/class/dmi/id/{n}") for n in ("sys_vendor", "product_name")))
    )
    group = host.get("proc/self/cgroup")
    container = (
        host.exists(".dockerenv")
        or host.exists("run/.containerenv")
        or any(word in group for word in ("docker", "kubepods", "lxc", "libpod", "containerd"))
    )
    where = (
        f"virtual machine{f' ({product})' if product else ''}" if guest else f"bare metal {product}".strip()
    )
    return ok(f"{where}{', in a container' if container else ''}")


CHECKS = (
    hiccups, steal, cstates, pm_qos, governor, isolation, nohz_full, rcu_nocbs, siblings, numa, mitigations,
    virtual,
)  # fmt: skip
