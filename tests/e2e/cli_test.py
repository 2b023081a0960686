#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""The CLI against pinned maps with known content: what it shows, the one byte it writes, how it
fails."""

import json
import os
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import case, check, check_equal, main  # noqa: E402
from cli import setup  # noqa: E402
from process import ROOT, built  # noqa: E402

ADMIN_BYTE = 19  # offset of sl_replica_config.admin
REPLICA_KEYS = {"service", "service_port", "address", "port", "weight", "state", "inflight",
                "owned", "load", "picks", "connect_failures", "ejections", "retries", "pod",
                "node"}


def by_address(rows):
    return {row["address"]: row for row in rows}


# ---- what is shown -------------------------------------------------------------------


CHECKED = """\
apiVersion: v1
kind: Service
metadata:
  name: web
  labels:
    sluice.dev/steer: enabled
spec:
  clusterIP: 10.96.0.9
  sessionAffinity: ClientIP
  clusterIp: 10.96.0.9
  ports:
  - port: 80
"""


@case
def check_shows_first_what_is_not_acted_upon(shared):
    with tempfile.TemporaryDirectory(prefix="sluice-check-") as directory:
        with open(f"{directory}/web.yaml", "w", encoding="utf-8") as file:
            file.write(CHECKED)
        rows = shared.cli.json("check", "-f", directory)
        verdicts = [row["verdict"] for row in rows]
        check_equal(verdicts[:2], ["unknown", "unsupported"], f"verdicts, the worst first, {rows}")
        check_equal(set(verdicts[2:]), {"honoured"}, "the rest")
        text = shared.cli.text("check", "-f", directory)
        check_equal([line.split()[0] for line in text.splitlines()[1:3]], verdicts[:2], "text")
        honoured = len(verdicts) - 2
        check(f"{honoured} honoured (-a shows them), 0 mapped, 1 unsupported, 1 unknown" in text
              and "\nhonoured" not in text, text)
        check(rows[0].keys() <= set(re.findall(r"\w+", entry_of(man_page(), "check"))), f"{rows[0]}")
        text = shared.cli.text("check", "-a", "-f", directory)
        check_equal(text.count("\nhonoured"), honoured, "honoured fields with -a")
        check_equal(shared.cli.run("check", "--strict", "-f", directory).returncode, 1, "--strict")


@case
def services(shared):
    rows = shared.cli.json("service", "show")
    check_equal([(r["service"], r["service_port"]) for r in rows],
                [("default/llm", "http"), ("default/old", "http"), ("prod/embed", 53)], "rows")
    llm, old, embed = rows
    check_equal((llm["port"], llm["protocol"], llm["mode"]), (80, "TCP", "overlay"), "llm")
    check_equal(llm["vips"], ["10.96.0.10:80", "192.0.2.10:80"], "VIPs of both variants")
    check_equal((llm["replicas"], llm["ready"], llm["inflight"], llm["picks"]), (2, 1, 4, 17),
                "sums over replicas")
    check_equal(llm["parked"], 3, "SYNs that wait, of both variants")
    check_equal(llm["idle_timeout_s"], 3600, "idle timeout")
    check_equal(old["vips"], [], "a withdrawn VIP")
    check_equal((embed["mode"], embed["vips"]), ("replace", ["[fd00:96::1]:53"]), "embed")


@case
def services_show_their_policy(shared):
    llm, old, embed = shared.cli.json("service", "show")
    check_equal((llm["retry_attempts"], llm["retry_budget"], llm["max_parked"]), (3, 1000, 1024),
                "retries and waiting line")
    check_equal((llm["consecutive_5xx_errors"], llm["consecutive_gateway_errors"],
                 llm["consecutive_local_origin_failures"], llm["split_local_origin_errors"]),
                (5, 0, 0, False), "thresholds")
    check_equal((llm["base_ejection_s"], llm["max_ejection_s"], llm["max_ejection_percent"],
                 llm["min_health_percent"], llm["latency_outlier_factor"]),
                (30, 300, 10, 0, 2.75), "ejections")
    check_equal((llm["when_full"], llm["when_none"], llm["on_eject"]),
                ("wait", "refuse", "keep"), "annotations")
    check_equal(llm["reset_after_s"], 2.5, "silence before a reset")
    check(llm["syn_deadline_ms"] > 0, "a deadline")
    check_equal((old["consecutive_5xx_errors"], old["syn_deadline_ms"], old["on_eject"],
                 old["latency_outlier_factor"]), (0, None, "reset", None), "no policy")
    text = shared.cli.text("service", "show", "llm")
    check("port 80: 3 retries; ejects after 5 5xx, 0 gateway, 0 connect failures in a row (0: off), "
          "for 30 s, at most 10 %; slow beyond 2.75 times the median; when full: wait, when none: "
          "refuse; on eject: keep" in text, text)
    text = shared.cli.text("service", "show", "old")
    check("nothing is ejected by count" in text, text)
    check("retries" not in shared.cli.text("service", "show", "embed"), "of UDP there is nothing")


@case
def services_text_says_who_is_not_steered(shared):
    text = shared.cli.text("service", "show", "default/llm")
    check("overlay: the node's own clients" in text, text)
    heads, row = text.splitlines()[:2]
    check_equal(dict(zip(heads.split(), row.split()))["NODE"], "no", f"NODE in {text}")
    check("replace:" not in text, text)
    check("replace: the node's own clients" in shared.cli.text("service", "show", "embed"), text)


@case
def replicas_are_unique_rows(shared):
    rows = shared.cli.json("replica", "show")
    check_equal([(r["service"], r["address"]) for r in rows],
                [("default/llm", "10.244.0.5"), ("default/llm", "10.244.1.5"),
                 ("prod/embed", "fd00:244::7"), ("prod/embed", "fd00:244::8")], "rows")
    for row in rows:
        check(REPLICA_KEYS <= row.keys(), f"keys lack {REPLICA_KEYS - row.keys()}")
    rows = by_address(rows)
    one = rows["10.244.1.5"]
    check_equal((one["port"], one["weight"], one["state"]), (8000, 400, "suspect"), "replica")
    check_equal((one["inflight"], one["owned"], one["picks"], one["connect_failures"],
                 one["ejections"], one["retries"]), (1, 0, 7, 2, 1, 4), "numbers")
    check_equal((one["max_connections"], one["full"], one["last_good_probe_s"],
                 one["ejected_s"], one["warming_percent"]), (64, 9, 2, None, None), "policy")
    check_equal((one["held"], rows["10.244.0.5"]["held"]), (True, False), "held")
    check_equal(rows["10.244.0.5"]["max_connections"], None, "no cap")
    check_equal((one["pod"], one["node"], one["local"]), ("default/llm-b", "node2", False), "place")
    check_equal(rows["10.244.0.5"]["state"], "ready", "state")
    check_equal(rows["fd00:244::8"]["state"], "down", "state")
    check_equal(rows["fd00:244::8"]["pod"], None, "unknown pod")


@case
def load_is_null_without_a_fresh_report(shared):
    rows = by_address(shared.cli.json("replica", "show"))
    check_equal(rows["fd00:244::7"]["load"], 2.5, "fresh report")
    check_equal(rows["fd00:244::8"]["load"], None, "old report")
    check_equal(rows["10.244.0.5"]["load"], None, "no report")


@case
def services_are_named_in_full_or_in_short(shared):
    for name in ("default/llm", "llm"):
        check_equal(len(shared.cli.json("replica", "show", name)), 2, name)
    for noun in ("service", "replica", "flow"):
        done = shared.cli.run(noun, "show", "default/nope")
        check_equal(done.returncode, 1, "exit status")
        check("default/nope" in done.stderr and not done.stdout, done.stderr)


@case
def flows(shared):
    rows = {row["client_port"]: row for row in shared.cli.json("flow", "show")}
    check_equal(sorted(rows), [5555, 6000, 40000, 40003], "live flows, the spilled one too")
    one = rows[40000]
    check_equal((one["service"], one["client"], one["vip"], one["vip_port"], one["replica"],
                 one["replica_port"]),
                ("default/llm", "10.244.0.9", "10.96.0.10", 80, "10.244.0.5", 8000), "flow")
    check_equal((one["state"], one["age_ms"], one["snat_port"], one["generation"]),
                ("open", 1000, None, 7), "flow")
    check_equal((rows[5555]["state"], rows[5555]["snat_port"], rows[5555]["hook"]),
                ("syn", 1024, "fabric"), "source NAT")
    check_equal(rows[5555]["service"], "default/llm", "service of the outside variant")
    check_equal(rows[6000]["age_ms"], 0, "age of a packet newer than the clock")
    check_equal([p for p, row in rows.items() if row["spilled"]], [40003], "spilled")
    rows = shared.cli.json("flow", "show", "--all", "llm")
    check_equal([r["client_port"] for r in rows if r["state"] == "done"], [40001], "done flows")
    check("10.244.0.9:40000" in shared.cli.text("flow", "show"), "text shows the client")


@case
def events(shared):
    rows = shared.cli.json("event", "show")
    check_equal([row["event"] for row in rows], ["agent_start", "replica_state", "config_applied"],
                "events")
    one = rows[1]
    check_equal((one["service"], one["address"], one["port"], one["state"]),
                ("default/llm", "10.244.1.5", 8000, "suspect"), "event")
    check_equal(one["text"], 'http GET "/health": \033[31m503\ufffd, 3 of 3', "text")
    check(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", one["time"]), one["time"])
    for since, count in (("-30m", 2), ("30m", 2), ("-3h", 3), ("-1ms", 0)):
        check_equal(len(shared.cli.json("event", "show", "--since", since)), count, since)
    check_equal([r["seq"] for r in shared.cli.json("event", "show", "-n", "2")], [2, 3], "-n 2")
    check("\033" not in shared.cli.text("event", "show"), "an escape sequence reached the terminal")


@case
def status(shared):
    (row,) = shared.cli.json("status")
    check_equal((row["agent"], row["agent_pid"], row["layout"], row["reconciled"]),
                ("alive", 4711, shared.cli.layout(), 3), "agent")
    check(row["heartbeat_age_ms"] < 3000 and 5 <= row["agent_uptime_s"] < 60, str(row))
    check_equal((row["services"], row["vips"], row["replicas"]), (3, 4, 4), "rows")
    check_equal((row["flows_live"], row["flows_half_open"], row["flows_lingering"],
                 row["flow_slots"], row["spilled"], row["sweep_passes"]), (3, 1, 1, 128, 1, 42),
                "flow table")
    check(row["drops"]["no_replica"] in (2, 5) and row["drops"]["fragment"] == 0, str(row))
    check(row["map_bytes"]["flows"] >= 16 * 512, str(row["map_bytes"]))
    check_equal(row["map_bytes_total"], sum(row["map_bytes"].values()), "memory")
    text = shared.cli.text("status")
    check("no_replica" in text and "fragment" not in text, text)


@case
def status_says_that_the_node_is_in_doubt(shared):
    check_equal(shared.cli.json("status")[0]["doubt"], False, "doubt")
    shared.cli.pinned("doubt", "1")
    check_equal(shared.cli.json("status")[0]["doubt"], True, "doubt")
    check("may be this node's own fault" in shared.cli.text("status"), "text")
    shared.cli.pinned("silence", "10")
    check_equal(shared.cli.json("status")[0]["doubt"], False, "nobody doubts with the agent dead")
    shared.cli.pinned("silence", "0")
    shared.cli.pinned("doubt", "0")


@case
def status_of_a_dead_agent(shared):
    shared.cli.pinned("silence", "10")
    (row,) = shared.cli.json("status")
    check_equal((row["agent"], row["agent_uptime_s"]), ("dead", None), "agent")
    check(10000 <= row["heartbeat_age_ms"] < 20000, str(row["heartbeat_age_ms"]))
    check("Start sluiced again" in shared.cli.text("status"), "text says what to do")
    check_equal(len(shared.cli.json("replica", "show")), 4, "replicas with the agent dead")
    shared.cli.pinned("silence", "0")


# ---- the byte that is written ------------------------------------------------------------


def changed_bytes(before, after):
    return [(row, at // 2) for row, (a, b) in enumerate(zip(before, after))
            for at in range(0, len(a), 2) if a[at:at + 2] != b[at:at + 2]]


@case
def drain_writes_one_byte(shared):
    before = shared.cli.pinned("rows").split()
    affected = shared.cli.json("replica", "drain", "10.244.1.5:8000")
    check_equal([(r["service"], r["address"], r["drained"], r["state"]) for r in affected],
                [("default/llm", "10.244.1.5", True, "draining")], "affected")
    check_equal(changed_bytes(before, shared.cli.pinned("rows").split()), [(5, ADMIN_BYTE)],
                "changed (row, byte)")
    check_equal(by_address(shared.cli.json("replica", "show"))["10.244.1.5"]["state"], "draining",
                "state")
    affected = shared.cli.json("replica", "undrain", "10.244.1.5:8000")
    check_equal([(r["drained"], r["state"]) for r in affected], [(False, "suspect")], "affected")
    check_equal(shared.cli.pinned("rows").split(), before, "rows after undrain")


@case
def freeze_writes_one_word(shared):
    """No agent is there: the word and the event are the CLI's own."""
    before = shared.cli.pinned("rows").split()
    for words, seconds in (((), 600), (("--for", "90s"), 90), (("--for", "24h"), 86400)):
        said = shared.cli.json("freeze", *words)
        check_equal(said, [{"frozen": True, "seconds_left": seconds}], f"freeze {words}")
        status = shared.cli.json("status")[0]
        check(status["frozen"] and abs(status["frozen_s"] - seconds) <= 1, f"status {status}")
    check("unfreeze" in shared.cli.text("freeze"), "freeze does not say how to end it")
    check_equal(shared.cli.json("unfreeze"), [{"frozen": False, "seconds_left": 0}], "unfreeze")
    check(not shared.cli.json("status")[0]["frozen"], "frozen still")
    said = [event["text"] for event in shared.cli.json("event", "show")
            if event["event"] == "freeze"]
    check_equal(said[-1], "ejections and resets are on again", "the last event")
    check("600 s" in said[0], f"the first event {said[0]}")
    check_equal(shared.cli.pinned("rows").split(), before, "rows of replicas")
    for words in (("--for", "25h"), ("--for", "0"), ("--for", "soon"), ("--for",), ("now",)):
        done = shared.cli.run("freeze", *words)
        check_equal(done.returncode, 2, f"exit status of freeze {words}: {done.stderr}")


@case
def drain_warns_when_no_other_is_left(shared):
    text = shared.cli.text("replica", "drain", "[fd00:244::7]:8000")
    shared.cli.text("replica", "undrain", "[fd00:244::7]:8000")
    check("prod/embed has no other replica" in text, text)
    text = shared.cli.text("replica", "drain", "10.244.1.5:8000")
    shared.cli.text("replica", "undrain", "10.244.1.5:8000")
    check("no other replica" not in text, text)


@case
def drain_of_what_is_no_replica(shared):
    before = shared.cli.pinned("rows")
    for where in ("10.244.1.5:8001", "10.244.1.6:8000"):
        done = shared.cli.run("replica", "drain", where)
        check_equal(done.returncode, 1, "exit status")
        check(where in done.stderr and "replica show" in done.stderr, done.stderr)
    for where in ("10.244.1.5", "here:80", "10.244.1.5:0", "fd00:244::7:8000"):
        check_equal(shared.cli.run("replica", "drain", where).returncode, 2, where)
    check_equal(shared.cli.pinned("rows"), before, "rows")


# ---- words, options, failures -------------------------------------------------------------


@case
def wrong_usage_is_status_2(shared):
    for line in ("", "nonsense", "s", "--nonsense", "service nonsense", "service show a b",
                 "service show --x", "replica drain", "replica drain 10.0.0.1", "flow show -x",
                 "flow show a b", "event show --since", "event show --since soon",
                 "event show -n x", "event watch x", "top -n 0", "top -d 0", "top x", "status x",
                 "version x"):
        done = shared.cli.run(*line.split())
        check_equal(done.returncode, 2, f"exit status of {line!r}")
        check(not done.stdout and "help" in done.stderr, f"{line!r} said {done.stderr!r}")
    done = subprocess.run([built("sluice"), "--bpffs"], capture_output=True, check=False)
    check_equal(done.returncode, 2, "exit status of --bpffs without a value")


def commands_of(usage):
    """The commands that a generated usage lists, as "replica drain" or "status"."""
    return re.findall(r"^  ([a-z-]+(?: [a-z]+)?)(?: [-\[A-Z]| {2,}|\n)",
                      usage.split("Options")[0], re.M)


def man_page():
    with open(f"{ROOT}/man/sluice.8", encoding="utf-8") as page:
        return page.read()


def entry_of(page, command):
    """What the man page says of a command."""
    return page.split(f"\n.It Nm Cm {command}", 1)[1].split("\n.It Nm ", 1)[0]


@case
def help_names_sections_of_the_man_page(shared):
    page = man_page()
    for command, sections in (("status", ["DROP REASONS", "COUNTERS"]), ("event show", ["EVENTS"])):
        usage = shared.cli.text(*command.split(), "-h")
        for section in sections:
            check(section in usage, f"{section} is not in {usage!r}")
            check(f"\n.Sh {section}\n" in page, f"the man page lacks {section}")


@case
def help_explains_every_command(shared):
    text = shared.cli.text("help")
    check_equal(shared.cli.text("--help"), text, "--help")
    commands = commands_of(text)
    check(len(commands) >= 12 and "replica drain" in commands, str(commands))
    for command in commands:
        usage = shared.cli.text(*command.split(), "-h")
        check(usage.startswith(f"Usage: sluice [OPTIONS] {command}"), usage)
        check_equal(shared.cli.text("help", *command.split()), usage, f"help {command}")


@case
def man_page_names_every_command_and_key(shared):
    page = man_page()
    for command in commands_of(shared.cli.text("help")):
        check(f"\n.It Nm Cm {command}" in page, f"the man page lacks {command}")
    for line in ("service show", "replica show", "flow show", "event show", "status",
                 "top -n 1 -d 0.1", "bpf show"):
        keys = shared.cli.json(*line.split())[0].keys()
        words = set(re.findall(r"\w+", entry_of(page, line.split(" -")[0])))
        check(keys <= words, f"{line}: the man page lacks {keys - words}")


@case
def man_page_of_the_agent_names_every_key_of_its_status(shared):
    with open(f"{ROOT}/user/status.c", encoding="utf-8") as file:
        keys = set(re.findall(r'(?:set_\w+|set_new)\(\w+, "(\w+)"', file.read()))
    with open(f"{ROOT}/man/sluiced.8", encoding="utf-8") as page:
        entry = page.read().split("\n.It Pa /status\n")[1].split("\n.El\n")[0]
    check(len(keys) >= 40, f"the source has only {keys}")
    check_equal(keys - set(re.findall(r"\w+", entry)), set(), "keys that it lacks")


@case
def man_page_and_completion_know_every_option(shared):
    page = man_page()
    offered = 0
    for command in commands_of(shared.cli.text("help")):
        usage = shared.cli.text(*command.split(), "-h").splitlines()[0].split(" ", 3)[3]
        options = set(re.findall(r"(?<!\w)--?[a-z][a-z-]*", usage))
        line = entry_of(page, command).splitlines()[0]
        check_equal({f"-{word}" for word in re.findall(r"(?:Fl|\|) (-?[a-z][a-z-]*)", line)}, options,
                    f"options of {command} in the man page")
        offered += len(options)
        check(options <= set(completions(shared, f"sluice {command} -")), f"{command}: {options}")
    check(offered >= 12, f"only {offered} options")


def completions(shared, line):
    """What the completion offers behind `line`."""
    words = line.split(" ")
    script = (f"sluice() {{ {' '.join(shared.cli.argv())} \"$@\"; }}; . {ROOT}/scripts/sluice.bash; "
              f"COMP_WORDS=({' '.join(words)}) COMP_CWORD={len(words) - 1} COMP_LINE='{line}' "
              f"COMP_POINT={len(line)}; _sluice; printf '%s\n' \"${{COMPREPLY[@]}}\"")
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True,
                          check=True).stdout.split()


@case
def words_may_be_short_and_options_anywhere(shared):
    long = shared.cli.json("replica", "show", "llm")
    for line in ("r s llm -j", "rep --json sh llm", "-j replica s llm"):
        check_equal(json.loads(shared.cli.text(*line.split())), long, line)
    check_equal(shared.cli.text("service"), shared.cli.text("service", "show"),
                "the default command")


@case
def nothing_pinned(shared):
    for line in ("service show", "replica show", "flow show", "event show", "event watch", "status",
                 "top", "replica drain 10.0.0.1:80"):
        done = subprocess.run([built("sluice"), "--bpffs", shared.empty, *line.split()],
                              capture_output=True, text=True, timeout=10, check=False)
        check_equal((done.returncode, done.stdout), (1, ""), line)
        check("is sluiced running?" in done.stderr and shared.empty in done.stderr, done.stderr)


@case
def another_layout_is_refused(shared):
    shared.cli.pinned("layout", "99")
    done = shared.cli.run("service", "show")
    shared.cli.pinned("layout", str(shared.cli.layout()))
    check_equal((done.returncode, done.stdout), (1, ""), "service show")
    check("another version" in done.stderr, done.stderr)


@case
def full_disk_is_an_error(shared):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(shared.cli.argv("-j", "event", "show"), stdout=full,
                              stderr=subprocess.PIPE, text=True, check=False)
    check_equal(done.returncode, 1, "exit status")
    check("cannot write" in done.stderr, done.stderr)


main(setup)
