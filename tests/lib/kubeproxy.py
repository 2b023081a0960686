# SPDX-License-Identifier: GPL-2.0-only
"""What kube-proxy in iptables mode does for a Service, in the same shape of rules: a chain
for the VIP, `statistic --mode random` towards one chain per replica, DNAT there, and
MASQUERADE for clients from outside the pod network. Its nftables mode is kubeproxy_nft.py's."""

import kubeproxy_nft

MODES = ("iptables", "nftables")


def _rules(apps, family):
    chains, rules = ["KUBE-SERVICES", "KUBE-MARK"], []
    for app in apps:
        vip = app.vip4 if family == 4 else app.vip6
        pods = [one.pod for one in app.replicas]
        cluster = "10.0.0.0/14" if family == 4 else "fd10::/16"
        for port in app.ports:
            chain = f"KUBE-{app.name}-{port.port}"     # 28 characters at most
            chains.append(chain)
            proto = port.proto.lower()
            rules.append(f"-A KUBE-SERVICES -d {vip} -p {proto} --dport {port.port} -j {chain}")
            rules.append(f"-A {chain} ! -s {cluster} -j KUBE-MARK")
            for i, pod in enumerate(pods):
                address = pod.ip4 if family == 4 else f"[{pod.ip6}]"
                share = 1 / (len(pods) - i)
                pick = f"-m statistic --mode random --probability {share:.10f} " if share < 1 \
                    else ""
                rules.append(f"-A {chain} {pick}-p {proto} -j DNAT "
                             f"--to-destination {address}:{port.target}")
    rules.append("-A KUBE-MARK -j MARK --or-mark 0x4000")
    head = [f":{chain} - [0:0]" for chain in chains]
    return "\n".join(["*nat", ":PREROUTING ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]",
                      ":POSTROUTING ACCEPT [0:0]", *head,
                      "-A PREROUTING -j KUBE-SERVICES", "-A OUTPUT -j KUBE-SERVICES",
                      "-A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE",
                      *rules, "COMMIT", ""])


def install(node, apps, mode="iptables"):
    """Makes the node's kube-proxy rules exactly those of these apps."""
    if mode == "nftables":
        kubeproxy_nft.install(node, apps)
        return
    node.run("iptables-restore", "-T", "nat", text=_rules(apps, 4))
    node.run("ip6tables-restore", "-T", "nat", text=_rules(apps, 6))


def remove(node, mode="iptables"):
    if mode == "nftables":
        kubeproxy_nft.remove(node)
        return
    for tables in ("iptables", "ip6tables"):
        node.run(tables, "-t", "nat", "-F")
        node.run(tables, "-t", "nat", "-X")
