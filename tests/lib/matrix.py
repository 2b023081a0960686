# SPDX-License-Identifier: GPL-2.0-only
"""The matrix of paths: who calls, where the replica is, how the Service is steered, over what.

    pod       a pod of node1               local, remote            a pod of node1, of node2
    self      the replica itself           host-local, host-remote  in the network of node1, of node2
    outside   beyond the uplinks, comes in at node1
    node      a process on node1

A cell is one of each, with a real client and a real server. By design some cells are not steered:
which ones `sluice service show` says, and why `sluice doctor`; nobody else here does (reason_of)."""

import contextlib
import dataclasses
import itertools
import subprocess
import sys
import types

from case import CASES, SLOW, Skip, case, check, check_equal, eventually
from hostnet import HostPod
from lab import Lab
from manifest import App, Port
from process import built
from servers import Server, load
from traffic import converse
import kubeproxy
import wires

CLIENTS = ("pod", "self", "outside", "node")
PLACES = ("local", "remote", "host-local", "host-remote")
MODES = ("replace", "overlay")
FAMILIES = (4, 6)
PROTOCOLS = ("tcp", "udp")
COLUMNS = {                 # ways of starting the agents
    "default": (), "fast_path": ("--fast-path",), "xdp": ("--xdp", "on")}
USED = {"fast_path": "fast_path", "xdp": "xdp"}     # the counter that says that it is at work
PORT = 8080                 # of replicas; both protocols
HTTP, ECHO = 80, 53         # of VIPs
REQUESTS, TIMEOUT_MS = 12, int(3000 * SLOW)
CONVERSATIONS, DATAGRAMS = 3, 5
BODY = 60000


@dataclasses.dataclass(frozen=True)
class Cell:
    column: str             # how the agents were started: "default", ...
    mode: str
    client: str
    place: str
    family: int
    protocol: str

    @property
    def name(self):
        return (f"{self.column}_{self.mode}_{self.client}_to_{self.place}_v{self.family}_"
                f"{self.protocol}").replace("-", "_")


def cells(column, protocols=PROTOCOLS, families=FAMILIES, modes=MODES):
    """All of a column. A hostNetwork replica that calls itself is a process of its node that does."""
    for mode, (client, place), family, protocol in itertools.product(
            modes, paths(), families, protocols):
        yield Cell(column, mode, client, place, family, protocol)


def paths(clients=CLIENTS):
    """(client, place) of each path that has a client and a replica of its own."""
    return [(client, place) for client, place in itertools.product(clients, PLACES)
            if client != "self" or not place.startswith("host")]


def unsupported(column):
    """Why this sluiced cannot be started so, in its own words; "" when it can."""
    done = subprocess.run([built("sluiced"), *COLUMNS[column], "--version"], capture_output=True,
                          text=True, check=False)
    return done.stderr.strip().splitlines()[0] if done.returncode else ""


def choose_cases():
    """A word on the command line chooses all cases that have it in their names."""
    sys.argv[1:] = [function.__name__ for function in CASES
                    if any(word in function.__name__ for word in sys.argv[1:])]


def add_column(column, add_path, clients=CLIENTS):
    """The cases of a column: add_path(column, client, place) for each path; one that skips where the
    agents cannot be started so."""
    why = unsupported(column)
    if why:
        add_unsupported(column, why)
        return
    for client, place in paths(clients):
        add_path(column, client, place)


def add_unsupported(column, why):
    def no_column(_):
        raise Skip(why)

    no_column.__name__ = f"{column}_column"
    case(no_column)


# ---- the lab -------------------------------------------------------------------------------------
@contextlib.contextmanager
def roads(modes=MODES):
    """The lab with a Service for each mode and place; no agent runs yet."""
    with Lab() as lab:
        shared = types.SimpleNamespace(lab=lab, replica={}, app={}, results={})
        shared.client = {"pod": lab.add_pod(lab.node1, "client"), "outside": lab.outside,
                         "node": lab.node1}
        for place, node in zip(PLACES, (lab.node1, lab.node2) * 2):
            host = place.startswith("host")
            pod = HostPod(node, place) if host else lab.add_pod(node, place)
            shared.replica[place] = pod
            Server(pod, PORT)
        for number, (mode, place) in enumerate(itertools.product(modes, PLACES), 10):
            app = App(lab, f"{mode}-{place}", number,
                      [Port("http", HTTP, PORT), Port("echo", ECHO, PORT, "UDP")])
            app.own_pods = mode == modes[0]     # one app's file must hold them
            if mode == "overlay":
                app.overlay()
            app.add(shared.replica[place])
            app.write()
            shared.app[mode, place] = app
        if "overlay" in modes:
            lay_kube_proxy(shared)
        yield shared


def lay_kube_proxy(shared):
    """What is underneath the overlay: kube-proxy's rules, and a route by which a node's own packet to a
    VIP gets as far as them."""
    overlay = [shared.app["overlay", place] for place in PLACES]
    for node in shared.lab.nodes:
        kubeproxy.install(node, overlay)
        node.ip(*(f"route add {app.vip4} via {shared.lab.outside.ip4}" for app in overlay),
                *(f"route add {app.vip6} via {shared.lab.outside.ip6}" for app in overlay))


def start_agents(shared, column):
    """Anew, adopting what the ones before left."""
    for node in shared.lab.nodes:
        if node.agent:
            node.agent.stop()
        if column == "xdp":
            wires.fit_for_xdp(shared.lab.fabric, node)
        node.start_sluiced(*COLUMNS[column])
    for node, app in itertools.product(shared.lab.nodes, shared.app.values()):
        eventually(lambda: app.applied(node), f"{app.name} applied on {node.name}")
    shared.says = {node.name: says(node) for node in shared.lab.nodes}


def kill_agents(shared):
    for node in shared.lab.nodes:
        node.agent.kill()


# ---- what is not steered, as the program says -----------------------------------------------------
def says(node):
    """({service: whether the node's own clients are steered}, why others are not)."""
    steered = {}
    for row in node.sluice("service", "show"):
        steered[row["service"]] = steered.get(row["service"], True) and row["node_clients_steered"]
    found = next(row["found"] for row in node.doctor() if row["check"] == "own_clients")
    return steered, next((one for one in found.split("; ") if " not " in one), None)


def caller(shared, cell):
    return shared.replica[cell.place] if cell.client == "self" else shared.client[cell.client]


def entry_node(shared, cell):
    """The node whose programs meet the client."""
    return getattr(caller(shared, cell), "node", shared.lab.node1)


def reason_of(shared, cell):
    """Why this cell is not steered, as doctor says; None: it must be."""
    steered, why = shared.says[entry_node(shared, cell).name]
    service = shared.app[cell.mode, cell.place].service
    if cell.client != "node" or steered[service]:
        return None
    check(why, f"{service} does not steer the node's own clients, and doctor does not say why")
    return why


# ---- a cell --------------------------------------------------------------------------------------
def picks(shared, cell):
    address = shared.replica[cell.place]
    address = address.ip4 if cell.family == 4 else address.ip6
    service = shared.app[cell.mode, cell.place].service
    return sum(row["picks"] for row in entry_node(shared, cell).replicas(service)
               if (row["address"], row["protocol"]) == (address, cell.protocol.upper()))


def ask_tcp(space, target, brief):
    """(answered, asked, {replica: answers}, what went wrong): bodies down and up."""
    options = {"connections": 4, "count": 2 if brief else REQUESTS, "timeout_ms": TIMEOUT_MS}
    ways = ({"path": f"/bytes/{BODY}", "pattern": True, "expect_bytes": BODY}, {"post": BODY})
    answered, names, seen = 0, set(), []
    for way in ways:
        result = load(space, target, **options, **way)
        answered += result["ok"]
        names |= set(result["replicas"])
        seen.append((way, result["errors"], result["error_log"][:2]))
        if result["failed"]:
            break
    return answered, len(ways) * options["count"], names, seen


def ask_udp(space, address, brief):
    conversations = 1 if brief else CONVERSATIONS
    account = converse(space, address, ECHO, conversations, 1 if brief else DATAGRAMS, 1200)
    bad = account["lost"] or account["bad"] or account["moved"]
    return (0 if bad else conversations, conversations, set(account["servers"]), account)


def ask(shared, cell, brief=False):
    """(all were answered, by how much the picks grew, how many were asked, what was seen)."""
    app = shared.app[cell.mode, cell.place]
    space = caller(shared, cell)
    before = picks(shared, cell)
    if cell.protocol == "tcp":
        answered, asked, names, seen = ask_tcp(space, app.target(cell.family), brief)
    else:
        answered, asked, names, seen = ask_udp(
            space, app.vip4 if cell.family == 4 else app.vip6, brief)
    if names:
        check_equal(names, {cell.place}, "who answered")
    return answered == asked, picks(shared, cell) - before, asked, seen


def run_cell(shared, cell):
    """Raises AssertionError unless the cell is as it must be. Its result, for the table: None when it
    works, else why not."""
    reason = reason_of(shared, cell)
    good, grown, asked, seen = ask(shared, cell, brief=bool(reason))
    if not reason:
        check(good, f"not all of {asked} were answered: {seen}")
        check(grown >= asked, f"{grown} picks for {asked}: others than Sluice served it")
        if cell.protocol == "tcp":
            for node in shared.lab.nodes:
                eventually(lambda: not node.counted(("TCP",)), f"{node.name}: counts back to 0")
        return None
    check(not grown, f"it was steered, although doctor says: {reason}")
    if cell.mode == "overlay":
        check(good, f"kube-proxy does not serve it: {seen}")
    else:
        check(not good, f"somebody serves it, although doctor says: {reason}")
    return reason


# ---- the table -----------------------------------------------------------------------------------
def table(results):
    """Text of {cell: None, a reason or an AssertionError}: a line for each column, mode and client."""
    reasons, lines = [], []
    width = 16
    heads = "".join(f"{place:{width}}" for place in PLACES)
    lines.append(f"{'column':16}{'mode':9}{'client':9}{heads}")
    lines.append(f"{'':34}" + f"{'t4 u4 t6 u6':{width}}" * len(PLACES))
    rows = dict.fromkeys((cell.column, cell.mode, cell.client) for cell in results)
    for column, mode, client in rows:
        text = f"{column:16}{mode:9}{client:9}"
        for place in PLACES:
            marks = [_mark(results, Cell(column, mode, client, place, family, protocol), reasons)
                     for family in FAMILIES for protocol in PROTOCOLS]
            text += f"{' '.join(marks):{width}}"
        lines.append(text.rstrip())
    lines += [f"({number}) {reason}" for number, reason in enumerate(reasons, 1)]
    return "\n".join(lines)


def _mark(results, cell, reasons):
    if cell not in results:
        return "- "
    result = results[cell]
    if result is None:
        return "ok"
    if isinstance(result, AssertionError):
        return "XX"
    if result not in reasons:
        reasons.append(result)
    return f"({reasons.index(result) + 1})"
