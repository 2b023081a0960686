# SPDX-License-Identifier: GPL-2.0-only
"""What kube-proxy in nftables mode (1.31 and later) does for a Service, in the same structure: one verdict
map of (address, protocol, port) for all services, one of node ports, a chain for each service-port that
draws by `numgen random` from a verdict map, a chain for each endpoint that translates, and the checks
of new connections in filter hooks."""

import base64
import hashlib

TABLE = "kube-proxy"
MARK = "0x4000"


class Family:
    """Of one table: kube-proxy has one for each."""

    def __init__(self, number):
        self.number = number
        self.ip = "ip" if number == 4 else "ip6"
        self.type = "ipv4_addr" if number == 4 else "ipv6_addr"
        self.pods = "10.0.0.0/14" if number == 4 else "fd10::/16"
        self.services = "10.96.0.0/16" if number == 4 else "fd96::/64"

    def vip(self, app):
        return app.vip4 if self.number == 4 else app.vip6

    def address(self, space):
        return space.ip4 if self.number == 4 else space.ip6

    def endpoint(self, pod, port):
        address = self.address(pod)
        return f"{address}:{port}" if self.number == 4 else f"[{address}]:{port}"


def _hashed(name):
    digest = base64.b32encode(hashlib.sha256(name.encode()).digest()).decode()
    return f"{digest[:8]}-{name}"


def _base(family):
    """The chains, sets and maps that are there without any service."""
    key = f"{family.type} . inet_proto . inet_service"
    lookup = f"{family.ip} daddr . meta l4proto . th dport vmap"
    node_lookup = f"{family.ip} daddr @nodeport-ips meta l4proto . th dport vmap"
    return {
        "sets": {"cluster-ips": f"type {family.type}", "nodeport-ips": f"type {family.type}"},
        "maps": {"firewall-ips": f"type {key} : verdict",
                 "no-endpoint-services": f"type {key} : verdict",
                 "no-endpoint-nodeports": "type inet_proto . inet_service : verdict",
                 "service-ips": f"type {key} : verdict",
                 "service-nodeports": "type inet_proto . inet_service : verdict"},
        "chains": {
            "reject-chain": ["reject"],
            "mark-for-masquerade": [f"mark set mark or {MARK}"],
            "masquerading": [f"mark and {MARK} == 0 return", f"mark set mark xor {MARK}",
                             "masquerade fully-random"],
            "cluster-ips-check": [f"{family.ip} daddr @cluster-ips reject",
                                  f"{family.ip} daddr {{ {family.services} }} drop"],
            "firewall-check": [f"{lookup} @firewall-ips"],
            "service-endpoints-check": [f"{lookup} @no-endpoint-services"],
            "nodeport-endpoints-check": [f"{node_lookup} @no-endpoint-nodeports"],
            "services": [f"{lookup} @service-ips", f"{node_lookup} @service-nodeports"],
            "filter-prerouting-pre-dnat": ["type filter hook prerouting priority -110;",
                                           "ct state new jump firewall-check"],
            "filter-output-pre-dnat": ["type filter hook output priority -110;",
                                       "ct state new jump firewall-check"],
            "filter-input": ["type filter hook input priority 0;",
                             "ct state new jump nodeport-endpoints-check",
                             "ct state new jump service-endpoints-check"],
            "filter-forward": ["type filter hook forward priority 0;",
                               "ct state new jump service-endpoints-check",
                               "ct state new jump cluster-ips-check"],
            "filter-output": ["type filter hook output priority 0;",
                              "ct state new jump service-endpoints-check",
                              "ct state new jump cluster-ips-check"],
            "nat-prerouting": ["type nat hook prerouting priority -100;", "jump services"],
            "nat-output": ["type nat hook output priority -100;", "jump services"],
            "nat-postrouting": ["type nat hook postrouting priority 100;", "jump masquerading"],
        },
    }


def _add_port(family, app, port, chains, elements):
    """One service-port: its chains, and how packets come to them."""
    proto = port.proto.lower()
    name = f"default/{app.name}/{proto}/{port.name}"
    service, external = f"service-{_hashed(name)}", f"external-{_hashed(name)}"
    pods = [one.pod for one in app.replicas if one.ready and not one.terminating]
    addresses = [family.vip(app)]
    if app.load_balancer and family.number == 4:
        addresses.append(app.load_balancer)
    elements["cluster-ips"].append(family.vip(app))
    if not pods:
        elements["no-endpoint-services"] += [
            f"{address} . {proto} . {port.port} : goto reject-chain" for address in addresses]
        return
    endpoints = []
    for pod in pods:
        chain = f"{name}__{family.address(pod).replace(':', '.')}/{port.target}"
        endpoints.append(f"endpoint-{_hashed(chain)}")
        chains[endpoints[-1]] = [
            f"{family.ip} saddr {family.address(pod)} jump mark-for-masquerade",
            f"meta l4proto {proto} dnat to {family.endpoint(pod, port.target)}"]
    draws = ", ".join(f"{i} : goto {chain}" for i, chain in enumerate(endpoints))
    chains[service] = [
        f"{family.ip} daddr {family.vip(app)} {proto} dport {port.port} "
        f"{family.ip} saddr != {family.pods} jump mark-for-masquerade",
        f"numgen random mod {len(endpoints)} vmap {{ {draws} }}"]
    chains[external] = ["jump mark-for-masquerade", f"goto {service}"]
    elements["service-ips"] += [
        f"{address} . {proto} . {port.port} : goto {external if i else service}"
        for i, address in enumerate(addresses)]
    if port.node_port:
        elements["service-nodeports"].append(f"{proto} . {port.node_port} : goto {external}")


def _block(kind, name, lines):
    return f"{kind} {name} {{\n" + "".join(f"  {line}\n" for line in lines) + "}\n"


def _rules(node, apps, family):
    base = _base(family)
    elements = {name: [] for name in (*base["sets"], *base["maps"])}
    elements["nodeport-ips"].append(family.address(node))
    chains = {}
    for app in apps:
        for port in app.ports:
            _add_port(family, app, port, chains, elements)
    body = ""
    for kind, declared in (("set", base["sets"]), ("map", base["maps"])):
        for name, type_line in declared.items():
            members = sorted(set(elements[name]))
            lines = [type_line] + ([f"elements = {{ {', '.join(members)} }}"] if members else [])
            body += _block(kind, name, lines)
    all_chains = {**base["chains"], **chains}
    heads = {name: [line for line in lines if line.endswith(";")]
             for name, lines in all_chains.items()}
    body = "".join(_block("chain", *head) for head in heads.items()) + body
    body += "".join(_block("chain", name, lines) for name, lines in all_chains.items())
    return (f"add table {family.ip} {TABLE}\ndelete table {family.ip} {TABLE}\n"
            f"table {family.ip} {TABLE} {{\n{body}}}\n")


def install(node, apps):
    """Makes the node's tables of kube-proxy exactly the rules of these apps, in one transaction."""
    node.run("nft", "-f", "-", text="".join(_rules(node, apps, Family(n)) for n in (4, 6)))


def remove(node):
    node.run("nft", "-f", "-", text="".join(f"add table {ip} {TABLE}\ndelete table {ip} {TABLE}\n"
                                            for ip in ("ip", "ip6")))
